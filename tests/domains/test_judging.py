"""What counts as the record that was asked for, and what is said of one that is not."""

import pytest

from newsletter.domains import judging
from newsletter.domains.records import RecordStatus, Seen

KEY = "v=DKIM1; k=rsa; p=MIIBIjANBgkqAQAB"


def told(seen: Seen, status: RecordStatus, words: str) -> bool:
    return seen.status is status and words in str(seen.reason)


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        "v=DKIM1;k=rsa;p=MIIBIjANBgkqAQAB;",
        "V=DKIM1; K=RSA; P=MIIBIjAN BgkqAQAB",
        "p=MIIBIjANBgkqAQAB; v=DKIM1; t=s",
        "v=DKIM1 ; p = MIIBIjANBgkq\tAQAB",
    ],
)
def test_a_key_is_the_same_however_it_is_written(value: str) -> None:
    assert judging.dkim([value], KEY).status is RecordStatus.found


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["v=DKIM1; k=rsa; p=MIIBAAAA"], "another key"),
        (["v=DKIM1; k=rsa; p=MIIBIj"], "cut short"),
        (["v=DKIM1; p="], "revoked"),
        (["v=DKIM1; k=ed25519; p=MIIBIjANBgkqAQAB"], "k=rsa"),
        (["hello"], "not a DKIM key"),
        (['"v=DKIM1; k=rsa; p=MIIBIjANBgkqAQAB"'], "quotation marks"),
        ([KEY, "v=DKIM1; p=MIIBAAAA"], "several"),
    ],
)
def test_a_key_that_is_not_ours_is_told_apart(values: list[str], words: str) -> None:
    assert told(judging.dkim(values, KEY), RecordStatus.wrong, words)


def test_an_ed25519_key_must_say_that_it_is_one() -> None:
    wanted = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    assert judging.dkim([wanted], wanted).status is RecordStatus.found
    assert told(judging.dkim([wanted.replace("k=ed25519; ", "")], wanted), RecordStatus.wrong, "k=ed25519")


@pytest.mark.parametrize(
    "value",
    [
        "v=spf1 include:spf.example.com ~all",
        "V=SPF1 ip4:192.0.2.1 +INCLUDE:SPF.example.com. -all",
        "v=spf1 redirect=spf.example.com",
    ],
)
def test_an_spf_record_includes_the_servers_that_the_operator_named(value: str) -> None:
    other = "google-site-verification=1"
    seen = judging.spf([other, value], "spf.example.com")
    assert (seen.status, seen.found) == (RecordStatus.found, (value,))


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        (["v=spf1 ~all"], RecordStatus.wrong, "include:spf.example.com"),
        (["v=spf1 -all include:spf.example.com"], RecordStatus.wrong, "before its 'all'"),
        (["v=spf1 -include:spf.example.com ~all"], RecordStatus.wrong, "lacks"),
        (["v=spf1 include:spf.example.com ~all", "v=spf1 -all"], RecordStatus.wrong, "several SPF"),
        (["v=spf10 include:spf.example.com"], RecordStatus.missing, "no SPF"),
        ([], RecordStatus.missing, "no SPF"),
    ],
)
def test_an_spf_record_that_does_not_help_is_told(
    values: list[str], status: RecordStatus, words: str
) -> None:
    assert told(judging.spf(values, "spf.example.com"), status, words)


def test_without_a_named_include_any_one_spf_record_will_do() -> None:
    assert judging.spf(["v=spf1 -all"], None).status is RecordStatus.found
    assert judging.spf(["v=spf1 -all", "v=spf1 ~all"], None).status is RecordStatus.wrong


@pytest.mark.parametrize(
    ("values", "is_own", "status", "words"),
    [
        (["v=DMARC1; p=reject"], True, RecordStatus.found, "'reject'"),
        (["v = DMARC1;p=None; rua=mailto:a@example.com"], True, RecordStatus.found, "'none'"),
        (["v=DMARC1; p=none; sp=quarantine"], False, RecordStatus.found, "'quarantine', by the record at"),
        (["v=DMARC1; p=reject"], False, RecordStatus.found, "'reject', by"),
        (["v=DMARC1; rua=mailto:a@example.com"], True, RecordStatus.wrong, "no policy"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], True, RecordStatus.wrong, "several DMARC"),
        (["v=DMARC2; p=none", "v=spf1 -all"], True, RecordStatus.missing, "no DMARC"),
        ([], True, RecordStatus.missing, "no DMARC"),
    ],
)
def test_the_policy_of_a_dmarc_record_is_told(
    values: list[str], is_own: bool, status: RecordStatus, words: str
) -> None:
    assert told(judging.dmarc(values, name="_dmarc.example.com", is_own=is_own), status, words)
