"""A web server that authenticates connections by NTLM and Kerberos and checks channel bindings.

Arguments: host, port, certificate, key, off|accept|require, TLS version, hash of the certificate's signature,
schemes to offer with commas between; Negotiate:Kerberos is Negotiate without NTLM.
"""
import base64
import hashlib
import http.server
import ssl
import sys

import gssapi
from gssapi.raw import ChannelBindings

HOST, PORT, CERT, KEY, MODE, TLS, HASH, SCHEMES = sys.argv[1:]
KERBEROS_ONLY = SCHEMES == "Negotiate:Kerberos"
SCHEMES = SCHEMES.split(":")[0].split(",")
CHANNEL_BOUND = 0x800
NTLM = gssapi.OID.from_int_seq("1.3.6.1.4.1.311.2.2.10")
KRB5 = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")
SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")


def binding():
    if MODE == "off":
        return None
    with open(CERT) as f:
        der = ssl.PEM_cert_to_DER_cert(f.read())
    return ChannelBindings(application_data=b"tls-server-end-point:" + hashlib.new(HASH, der).digest())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.context, self.who = None, None

    def log_message(self, format, *args):
        print(format % args, file=sys.stderr, flush=True)

    def answer(self, status, body, *challenges):
        body = body.encode()
        self.send_response(status)
        for c in challenges:
            self.send_header("WWW-Authenticate", c)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, why, scheme="Negotiate", token=b""):
        self.context = None
        self.log_message("refused: %s", why)
        offers = list(SCHEMES)
        if token:  # a KRB-ERROR
            offers[0] = scheme + " " + base64.b64encode(token).decode()
        self.answer(401, "", *offers)

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if not scheme and self.who:
            return self.answer(200, self.who)
        if scheme not in SCHEMES:
            return self.refuse("no token")
        token, reply = base64.b64decode(token), b""
        if KERBEROS_ONLY and token.startswith(b"NTLMSSP\0"):
            return self.refuse("NTLM")
        try:
            if self.context is None:
                mechs = [NTLM] if token.startswith(b"NTLMSSP\0") else [KRB5, SPNEGO, NTLM]
                creds = gssapi.Credentials(usage="accept", mechs=mechs)
                self.context = gssapi.SecurityContext(creds=creds, usage="accept", channel_bindings=binding())
            reply = self.context.step(token)
            complete = self.context.complete  # raises what the step has put off
        except gssapi.exceptions.GSSError as e:
            return self.refuse(e, scheme, reply)
        reply = scheme + " " + base64.b64encode(reply).decode() if reply else ""
        if not complete:
            return self.answer(401, "", reply)
        bound = bool(int(self.context.actual_flags) & CHANNEL_BOUND)
        if MODE == "require" and not bound:
            return self.refuse("not bound")
        self.who = "%s bound=%s" % (self.context.initiator_name, bound)
        self.context = None
        self.answer(200, self.who, *([reply] if reply else []))

    do_POST = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def finish_request(self, request, client_address):
        # The handshake belongs to the connection's own thread: one client must not hold up the others.
        try:
            super().finish_request(TLS_CONTEXT.wrap_socket(request, server_side=True), client_address)
        except (ssl.SSLError, OSError) as e:
            print("connection: %s" % e, file=sys.stderr, flush=True)


TLS_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
TLS_CONTEXT.load_cert_chain(CERT, KEY)
TLS_CONTEXT.minimum_version = TLS_CONTEXT.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[TLS]
Server((HOST, int(PORT)), Handler).serve_forever()
