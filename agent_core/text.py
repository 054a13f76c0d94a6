"""Text and content that can be stored and sent.

Never changes a text that is well-formed already.
"""

from pydantic import BaseModel


def well_formed(text: str) -> str:
    """Return `text` with halves of surrogate pairs joined, and lone ones replaced: UTF-8 can hold neither.

    They come from undecodable file names, and from models and endpoints that cut a character in two.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def whole(content: object) -> object:
    """Return structured content as JSON-able values with all its fields, also those that hold a default or None.

    Its class is the caller's, and not there when it is read again: no default would come back.
    """
    return content.model_dump(mode="json") if isinstance(content, BaseModel) else content
