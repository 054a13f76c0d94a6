"""The mark of an argument that was left out, where None is a value like any other."""

NOT_GIVEN = object()
