"""A document that is nothing but a page's leavings is known as such; a sentence that begins like one is not."""

import pytest

from llm.data.cleaning.boilerplate import is_boilerplate


@pytest.mark.parametrize(
    "text",
    [
        "404 Not Found",
        "500 Internal Server Error",
        "HTTP Error 503. The service is unavailable.",
        "Page not found",
        "The page you requested could not be found.",
        "click here to subscribe",
        "Click here for more information",
        "Subscribe to our newsletter!",
        "Sign in | Register",
        "Read more...",
        "Home About Contact",
        "Home | Products | Contact us",
        "We use cookies to improve your experience. Accept all cookies",
        "Please enable JavaScript to view this page.",
        "© 2020 Example Inc. All rights reserved.",
        "This page intentionally left blank",
        "lorem ipsum dolor sit amet, consectetur adipiscing elit",
        "N/A",
        "null",
        "[deleted]",
        "[removed]",
        "[deleted by user]",
        "test test test",
        "This is a test.",
        "TODO",
        "foo bar baz",
        "Under construction",
        "loading...",
        "Advertisement\n\nShare on Facebook\n\nLeave a comment",
    ],
)
def test_leavings_are_known(text: str) -> None:
    assert is_boilerplate(text)


@pytest.mark.parametrize(
    "text",
    [
        "Home is where the heart is.",
        "The page was found in the attic, between two ledgers.",
        "Test the water before you jump in.",
        "Sign in the window: closed.",
        "ROMEO: I do protest, I never injured thee.",
        "Nothing comes of nothing.",
        "Return the server's error, such as 404 Not Found, as an exception.",
        "N/A\nThe rest of this document is about something.",
        "",
    ],
)
def test_sentences_are_not(text: str) -> None:
    assert not is_boilerplate(text)
