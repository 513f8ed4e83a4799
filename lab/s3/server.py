"""moto's server, with one correction.

moto takes a Deny whose condition is not met for a Deny: the usual "refuse what does not come over TLS" in a bucket's
policy then refuses everything. Here statements with that condition count only if the request meets it. This server
speaks nothing but TLS, so what the condition asks for is known.
"""

import sys

from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.server import main

SECURE_TRANSPORT = "aws:securetransport"


def secure_transport(statement):
    """What a statement's condition wants aws:SecureTransport to be: "true", "false", or None if it does not say."""
    for operator, keys in (statement.get("Condition") or {}).items():
        for key, value in keys.items():
            if operator == "Bool" and key.lower() == SECURE_TRANSPORT:
                value = value[0] if isinstance(value, list) else value
                return str(value).lower()
    return None


decide = IAMPolicyStatement.is_action_permitted


def decide_with_transport(self, *args, **named):
    wanted = secure_transport(self._statement)
    if wanted is None:
        return decide(self, *args, **named)
    if wanted != "true":
        return PermissionResult.NEUTRAL
    return decide(IAMPolicyStatement(without_transport(self._statement)), *args, **named)


def without_transport(statement):
    """The statement without the part of its condition that is met."""
    rest = {}
    for operator, keys in statement["Condition"].items():
        kept = {key: value for key, value in keys.items() if key.lower() != SECURE_TRANSPORT}
        if kept:
            rest[operator] = kept
    return {**{key: value for key, value in statement.items() if key != "Condition"}, **({"Condition": rest} if rest else {})}


IAMPolicyStatement.is_action_permitted = decide_with_transport

if __name__ == "__main__":
    sys.exit(main())
