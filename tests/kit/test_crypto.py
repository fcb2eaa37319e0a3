"""The vault: what is closed stays closed, and a rotation loses nothing."""

import hashlib
import hmac

import pytest

from newsletter.kit.crypto import Undecryptable, Vault, key_id, subkey

OLD, NEW, OTHER = "old-" * 8, "new-" * 8, "other" * 8


def test_what_was_encrypted_comes_back_and_no_two_ciphertexts_are_equal() -> None:
    vault = Vault([NEW])
    first, second = vault.encrypt(b"hunter2", "server/1"), vault.encrypt(b"hunter2", "server/1")
    assert vault.decrypt(first, "server/1") == vault.decrypt(second, "server/1") == b"hunter2"
    assert first != second
    assert b"hunter2" not in first


def test_every_altered_byte_closes_a_ciphertext() -> None:
    vault = Vault([NEW])
    sealed = vault.encrypt(b"hunter2", "here")
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(Undecryptable):
            vault.decrypt(bytes(altered), "here")
    for length in range(len(sealed)):
        with pytest.raises(Undecryptable):
            vault.decrypt(sealed[:length], "here")


def test_a_ciphertext_moved_to_another_place_stays_closed() -> None:
    vault = Vault([NEW])
    with pytest.raises(Undecryptable):
        vault.decrypt(vault.encrypt(b"hunter2", "server/1"), "server/2")


def test_after_a_rotation_old_values_open_and_new_ones_need_the_new_key() -> None:
    before, after = Vault([OLD]), Vault([NEW, OLD])
    assert after.decrypt(before.encrypt(b"x", "c"), "c") == b"x"
    with pytest.raises(Undecryptable):
        before.decrypt(after.encrypt(b"x", "c"), "c")
    with pytest.raises(Undecryptable):
        Vault([NEW]).decrypt(before.encrypt(b"x", "c"), "c")


def test_two_secrets_with_one_key_id_are_both_tried() -> None:
    twin = next(key for n in range(10_000) if key_id(key := f"{n:032}") == key_id(OLD))
    assert Vault([twin, OLD]).decrypt(Vault([OLD]).encrypt(b"x", "c"), "c") == b"x"


def test_purposes_and_secrets_do_not_share_keys() -> None:
    vault = Vault([NEW, OLD])
    keys = {vault.derive("a"), vault.derive("b"), Vault([OLD]).derive("a"), vault.digest("a", b"")}
    assert len(keys) == 4
    assert vault.derive("a") == Vault([NEW]).derive("a")


def test_a_digest_stored_before_a_rotation_is_found_after_it() -> None:
    stored = Vault([OLD]).digest("api-key", b"nl_live_1")
    after = Vault([NEW, OLD])
    assert stored in after.digests("api-key", b"nl_live_1")
    assert after.digests("api-key", b"nl_live_1")[0] == after.digest("api-key", b"nl_live_1") != stored
    assert stored not in after.digests("erased", b"nl_live_1")
    assert stored not in Vault([NEW, OTHER]).digests("api-key", b"nl_live_1")


def test_digests_of_many_are_those_of_each() -> None:
    vault, values = Vault([NEW, OTHER]), [b"a", b"", b"a" * 100]
    newest, older = vault.digests_of_each("erased", values)
    assert [list(each) for each in zip(newest, older, strict=True)] == [
        vault.digests("erased", value) for value in values
    ]


def test_a_digest_is_that_of_the_library() -> None:
    vault, key = Vault([NEW]), subkey(NEW, "digest/erased")
    for value in (b"", b"a", b"a" * 100):
        assert vault.digest("erased", value) == hmac.digest(key, value, hashlib.sha256)


def test_a_vault_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        Vault([])
