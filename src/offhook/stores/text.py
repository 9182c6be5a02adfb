"""Texts as columns hold them."""


def storable(text: str) -> str:
    """Return a text that is valid Unicode: a pair of surrogates becomes the character they stand
    for, and half a pair U+FFFD. Neither store can write either.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
