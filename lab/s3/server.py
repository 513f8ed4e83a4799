"""moto's server, with what S3 does otherwise.

moto takes a Deny whose condition is not met for a Deny: the usual "refuse what does not come over TLS" in a bucket's
policy then refuses everything. Here statements with that condition count only if the request meets it. This server
speaks nothing but TLS, so what the condition asks for is known.

moto stores whatever arrives, where S3 refuses a body that has not the SHA-256 its headers promise. It knows buckets in
every region, where S3 refuses what is signed for another one and says which is right. And it asks whether a key may see
a bucket before it looks whether there is one.
"""

import base64
import hashlib
import io
import re
import sys

from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3.models import s3_backends
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

dispatch = DomainDispatcherApplication.__call__


def dispatch_what_s3_would_take(self, environ, start_response):
    refusal = wrong_bucket(environ) or damaged_body(environ)
    return refuse(start_response, environ, **refusal) if refusal else dispatch(self, environ, start_response)


def wrong_bucket(environ):
    signed = re.search(r"Credential=[^/]+/\d{8}/([^/]+)/s3/", environ.get("HTTP_AUTHORIZATION", ""))
    bucket = find_bucket(environ["PATH_INFO"].split("/")[1])
    if bucket is None:
        missing = signed and environ["REQUEST_METHOD"] == "HEAD"
        return {"status": "404 Not Found", "code": "NoSuchBucket", "message": "The specified bucket does not exist"} if missing else None
    if not signed or signed[1] == bucket.region_name:
        return None
    return {
        "code": "AuthorizationHeaderMalformed",
        "message": f"The authorization header is malformed; the region '{signed[1]}' is wrong; expecting '{bucket.region_name}'",
        "headers": [("x-amz-bucket-region", bucket.region_name)],
    }


def find_bucket(name):
    backends = [backend for account in s3_backends.values() for backend in account.values()]
    return next((backend.buckets[name] for backend in backends if name in backend.buckets), None)


def damaged_body(environ):
    promised = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "")
    checksum = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256", "")
    if environ["REQUEST_METHOD"] != "PUT" or not (environ.get("CONTENT_LENGTH") and (checksum or re.fullmatch("[0-9a-f]{64}", promised))):
        return None
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    environ["wsgi.input"] = io.BytesIO(body)
    found = hashlib.sha256(body)
    if len(promised) == 64 and promised != found.hexdigest():
        return {"code": "XAmzContentSHA256Mismatch", "message": "The provided x-amz-content-sha256 does not match."}
    if checksum and checksum != base64.b64encode(found.digest()).decode():
        return {"code": "BadDigest", "message": "The SHA256 you specified did not match what we received."}
    return None


def refuse(start_response, environ, code, message, status="400 Bad Request", headers=()):
    text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(text))), *headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]


DomainDispatcherApplication.__call__ = dispatch_what_s3_would_take

if __name__ == "__main__":
    sys.exit(main())
