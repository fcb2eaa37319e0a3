"""Signatures for AWS: the vectors that AWS publishes, and botocore's own signer."""

from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import example, given
from hypothesis import strategies as st

from newsletter.providers.sigv4 import Credentials, sign

# Of the suite "aws-sig-v4-test-suite", which AWS publishes with these credentials.
SUITE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
HOST = "https://example.amazonaws.com"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("method", "target", "headers", "content", "names", "signature"),
    [
        (
            *("GET", "/", {}, b"", "host;x-amz-date"),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            *("POST", "/", {}, b"", "host;x-amz-date"),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            *("POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Param1=value1"),
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
        (
            *("GET", "/?Param2=value2&Param1=value1", {}, b"", "host;x-amz-date"),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            *("GET", f"/?{UNRESERVED}={UNRESERVED}", {}, b"", "host;x-amz-date"),
            "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
        ),
        (
            *("GET", f"/{UNRESERVED}", {}, b"", "host;x-amz-date"),
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (
            *("GET", "/ሴ", {}, b"", "host;x-amz-date"),
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            *("GET", "/", {"My-Header1": " value1", "My-Header2": ' "a   b   c"'}, b""),
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            *("POST", "/", {"My-Header1": "value1"}, b"", "host;my-header1;x-amz-date"),
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
    ],
    ids=[
        "get-vanilla",
        "post-vanilla",
        "post-x-www-form-urlencoded",
        "get-vanilla-query-order-key-case",
        "get-vanilla-query-unreserved",
        "get-unreserved",
        "get-utf8",
        "get-header-value-trim",
        "post-header-key-sort",
    ],
)
def test_the_vectors_that_aws_publishes(
    method: str, target: str, headers: dict[str, str], content: bytes, names: str, signature: str
) -> None:
    signed = sign(
        method,
        HOST + target,
        headers,
        content,
        credentials=SUITE,
        region="us-east-1",
        service="service",
        at=AT,
    )
    assert signed["X-Amz-Date"] == "20150830T123600Z"
    assert signed["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


class _FixedDate(SigV4Auth):  # type: ignore[misc]
    """botocore's signer at a time of the test's choosing."""

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = AT.strftime("%Y%m%dT%H%M%SZ")
        request.headers["X-Amz-Date"] = request.context["timestamp"]
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(
    method=st.sampled_from(["GET", "POST", "PUT"]),
    path=st.lists(st.text(max_size=8), max_size=4),
    query=st.lists(st.tuples(WORDS, st.text(max_size=8)), max_size=4, unique_by=lambda pair: pair[0]),
    values=st.dictionaries(st.from_regex(r"\AX-[A-Za-z]{1,8}\Z"), WORDS, max_size=3),
    content=st.binary(max_size=50),
)
@example(method="GET", path=[], query=[("0", ""), ("00", "")], values={}, content=b"")
def test_any_request_is_signed_as_botocore_signs_it(
    method: str, path: list[str], query: list[tuple[str, str]], values: dict[str, str], content: bytes
) -> None:
    names = {name.lower() for name in values}
    if len(names) < len(values) or names & {"x-amz-date", "x-amzn-trace-id"}:
        return
    segments = [quote(part.encode(errors="replace"), safe="") for part in path]
    target = "/" + "/".join(part for part in segments if part.strip("."))
    pairs = [(quote(n, safe=""), quote(v.encode(errors="replace"), safe="")) for n, v in query]
    url = f"https://email.eu-west-1.amazonaws.com{target}"
    if pairs:
        url += "?" + "&".join(f"{name}={value}" for name, value in pairs)
    request = AWSRequest(method, url, headers=dict(values), data=content)
    credentials = BotocoreCredentials("AKIDEXAMPLE", "secret", "a-session-token")
    request.headers["X-Amz-Security-Token"] = "a-session-token"
    _FixedDate(credentials, "ses", "eu-west-1").add_auth(request)
    ours = sign(
        method,
        url,
        values,
        content,
        credentials=Credentials("AKIDEXAMPLE", "secret", "a-session-token"),
        region="eu-west-1",
        service="ses",
        at=AT,
    )
    assert ours["Authorization"] == request.headers["Authorization"]
