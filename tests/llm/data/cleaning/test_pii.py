"""Personal data is found in the forms that people write it in, and numbers that are none are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.data.cleaning.pii import PLACEHOLDERS, find_pii, luhn, replace_pii

PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"

FOUND = [
    *(
        ("email", one)
        for one in ("cy.tester@example.com", "a@b.org", "ada_tester+list@mail.example.co.uk", "x-1@sub.example.museum")
    ),
    *(
        ("phone", one)
        for one in ("+1 202-555-0193", "(202) 555-0143", "202-555-0143", "202.555.0143", "1-202-555-0150", "+1 (202) 555-0150")
    ),
    *(
        ("phone", one)
        for one in (
            "+44 20 7946 0958",
            "+442079460958",
            "+49 30 901820",
            "+33 1 23 45 67 89",
            "+86 10 1234 5678",
            "0044 20 7946 0958",
        )
    ),
    *(
        ("ip", one)
        for one in ("192.0.2.131", "203.0.113.177", "8.8.8.8", "2001:db8::ff00:42:8329", "fe80::1ff:fe23:4567:890a", "2001:db8::1")
    ),
    ("ip", "2001:0db8:85a3:0000:0000:8a2e:0370:7334"),
    *(
        ("card", one)
        for one in ("4111 1111 1111 1111", "5555-5555-5555-4444", "378282246310005", "3714 496353 98431", "6011111111111117")
    ),
    *(("card", one) for one in ("3530111333300000", "30569309025904", "2223003122003222", "4222222222222", "6304000000000000")),
    *(
        ("iban", one)
        for one in ("GB33BUKB20201555555555", "DE89 3704 0044 0532 0130 00", "FR1420041010050500013M02606", "NO9386011117947")
    ),
    *(
        ("iban", one)
        for one in ("NL91ABNA0417164300", "MT84MALT011000012345MTLCAST001S", "CH9300762011623852957", "GB82 WEST 1234 5698 7654 32")
    ),
    *(("ssn", one) for one in ("000-92-6046", "123-45-6789")),
    *(
        ("addr", one)
        for one in (
            "495 Nowhere Street, Testville, ZZ 00000",
            "1234 N Main St",
            "99 Fake Ave., Nowhere, ZZ 00000-1234",
            "221 Baker Street",
        )
    ),
    *(
        ("addr", one)
        for one in ("P.O. Box 123, Testville, ZZ 00000", "7 Old Mill Road, Apt 4B", "1850 Oak Lane, Springfield, XX 12345")
    ),
    *(
        ("key", one)
        for one in ("sk-FAKE96e02331e3d3d6a2be6b8988b475561b", "sk-proj-FAKE96e02331e3d3d6a2", "sk_live_FAKE4eC39HqLyjWDarjtT1")
    ),
    *(
        ("key", one)
        for one in (
            "AKIAIOSFODNN7EXAMPLE",
            "AKIAFAKE12345678ABCD",
            "ghp_FAKE5d41402abc4b2a76b9719d911017c592",
            "hf_FAKEabcdef1234567890",
        )
    ),
    *(
        ("key", one)
        for one in (
            "xoxb-123456789012-1234567890123-AbCdEf",
            "AIzaSyD-FAKE1234567890abcdefghijklmnopq",
            "glpat-FAKE1234567890abcdef",
        )
    ),
    *(("key", one) for one in ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", PRIVATE_KEY)),
]


@pytest.mark.parametrize(("kind", "private"), FOUND)
@pytest.mark.parametrize("sentence", ["{}", "Contact Fay Sample: {}.", "He wrote ({}), then\n{} again"])
def test_it_is_found_whole_wherever_it_stands(kind: str, private: str, sentence: str) -> None:
    text = sentence.format(private, private)
    findings = find_pii(text)
    assert [(finding.kind, text[finding.start : finding.end]) for finding in findings] == [
        (f"pii:{kind}", private)
    ] * sentence.count("{}")
    assert replace_pii(text, findings) == sentence.format(PLACEHOLDERS[f"pii:{kind}"], PLACEHOLDERS[f"pii:{kind}"])


@pytest.mark.parametrize(
    ("text", "kind", "private"),
    [
        ("password: hunter2hunter2XYZ99", "key", "hunter2hunter2XYZ99"),
        ("api_key = 'a8f5f167f44f4964e6c998dee827110c'", "key", "a8f5f167f44f4964e6c998dee827110c"),
        ('"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"', "key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        ("Authorization: Bearer 9f86d081884c7d659a2feaa0c55ad015", "key", "9f86d081884c7d659a2feaa0c55ad015"),
        ("please call now 09061701461", "phone", "09061701461"),
        ("Tel. 020 7946 0958", "phone", "020 7946 0958"),
        ("Phone: 555-0143", "phone", "555-0143"),
    ],
)
def test_a_word_before_it_says_what_it_is(text: str, kind: str, private: str) -> None:
    assert [(finding.kind, text[finding.start : finding.end]) for finding in find_pii(text)] == [(f"pii:{kind}", private)]


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4 and v10.2.3.4, section 4.3.2.1, package==1.2.3.4",
        "ISBN 978-3-16-148410-0, DOI 10.1038/nature12373, arXiv:2301.12345",
        "in 1999-2000, on 2001-02-03, 12/05/1999 and 2024-01-02T10:11:12.123456",
        "1,234,567,890 people, 3.14159265358979, $100 Main Street, +12.5 degrees",
        "1234 5678 9012 3456, 4111 1111 1111 1112, 12345678901234, 0000 0000 0000 0000",
        "GB33BUKB20201555555556 and DE00 1234 5678 9012 3456 78 and ZZ68539007547034",
        "from 1820 Wall Street was where they met; call 1999-12-31",
        "the 10:11:12 train, std::vector<int>::iterator x1, a1::b2, dict[1::2], ::1",
        "sha256 d41d8cd98f00b204e9800998ecf8427e, key=lambda item2: item2, key to the kingdom",
        "def tokens(token_type_ids_with_padding2_and3, base64.b64decode2): secret_sauce",
        "@decorator, 5 @ 3, user@localhost, @handle99",
        "256.1.1.1, 1.2.3, 0.0.0.0, 127.0.0.1, 1.2.3.4.5",
        "He ate 3 apples, 14 pears and 159 plums in 26 days; 12-34-56",
    ],
)
def test_numbers_that_are_nobodys_are_left_alone(text: str) -> None:
    assert [text[finding.start : finding.end] for finding in find_pii(text)] == []


def test_two_finds_in_one_place_are_one() -> None:
    text = "key: sk-FAKE96e02331e3d3d6a2be6b8988b475561b, card 4111111111111111."
    assert [finding.kind for finding in find_pii(text)] == ["pii:key", "pii:card"]


def test_luhn_knows_the_check_digit() -> None:
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{digit}") for digit in "012456789")


@given(st.text(alphabet="0123456789 .:-+()@abcdefGBDEsk_/\n", max_size=200))
def test_findings_lie_in_the_text_in_order_and_apart(text: str) -> None:
    findings = find_pii(text)
    edges = [edge for finding in findings for edge in (finding.start, finding.end)]
    assert edges == sorted(edges)
    assert all(0 <= finding.start < finding.end <= len(text) for finding in findings)
