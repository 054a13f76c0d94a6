"""Text that can be stored and sent.

Never changes a text that is well-formed already.
"""


def well_formed(text: str) -> str:
    """Return `text` with halves of surrogate pairs joined, and lone ones replaced: UTF-8 can hold neither.

    They come from undecodable file names, and from models and endpoints that cut a character in two.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
