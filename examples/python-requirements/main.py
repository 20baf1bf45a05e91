"""Encodes a domain name as the domain name system has it."""

import idna


def endpoint(event, context):
    return {"ascii": idna.encode(event["domain"]).decode()}
