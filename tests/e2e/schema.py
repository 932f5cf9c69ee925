"""As much of JSON Schema draft-07 as docs/record.schema.json uses; an unknown keyword is an error, not a pass."""
import re

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "number": (int, float),
         "integer": int}
IGNORED = {"$schema", "$id", "title", "description", "definitions"}


def has_type(value, name):
    return isinstance(value, TYPES[name]) and not (isinstance(value, bool) and name in ("number", "integer"))


def errors(value, schema, root, where="record"):
    for key, rule in schema.items():
        if key in IGNORED or key == "properties":
            continue
        if key == "$ref":
            yield from errors(value, root["definitions"][rule.rsplit("/", 1)[1]], root, where)
        elif key == "allOf":
            for part in rule:
                yield from errors(value, part, root, where)
        elif key == "type":
            if not any(has_type(value, name) for name in ([rule] if isinstance(rule, str) else rule)):
                yield f"{where}: {value!r} is not {rule}"
                return
        elif key == "const" and value != rule or key == "enum" and value not in rule:
            yield f"{where}: {value!r} is not {rule}"
        elif key == "required":
            yield from (f"{where}.{name} is missing" for name in rule if name not in value)
        elif key == "additionalProperties":
            for name in value.keys() - schema.get("properties", {}).keys():
                if rule is False:
                    yield f"{where}.{name} is unknown"
                else:
                    yield from errors(value[name], rule, root, f"{where}.{name}")
        elif key == "items":
            for i, item in enumerate(value):
                yield from errors(item, rule, root, f"{where}[{i}]")
        elif key == "minItems" and len(value) < rule or key == "maxItems" and len(value) > rule:
            yield f"{where}: {len(value)} items"
        elif key == "minimum" and isinstance(value, (int, float)) and value < rule:
            yield f"{where}: {value} < {rule}"
        elif key == "exclusiveMinimum" and value <= rule:
            yield f"{where}: {value} <= {rule}"
        elif key == "maximum" and value > rule:
            yield f"{where}: {value} > {rule}"
        elif key == "minLength" and len(value) < rule:
            yield f"{where}: too short"
        elif key == "pattern" and not re.search(rule, value):
            yield f"{where}: {value!r} is not like {rule}"
        elif key not in ("const", "enum", "minItems", "maxItems", "minimum", "exclusiveMinimum", "maximum", "minLength",
                         "pattern"):
            raise ValueError(f"schema keyword {key} at {where}")
    for name, part in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            yield from errors(value[name], part, root, f"{where}.{name}")
