// Package capf speaks CAPF, the Certificate Authority Proxy Function protocol: IP phones and soft phones get, show and
// give up their locally significant certificate (LSC) over a binary protocol on TCP 3804, inside TLS, in which the
// server speaks first.
//
// The package has three layers. [Message] with [ReadMessage] and the element types is the wire format: everything that
// was seen on the wire decodes and encodes again byte for byte, unknown elements included. [Server] conducts sessions
// and asks a [Service] what each phone may have; it knows no storage, no configuration and no certificate authority.
// [Client] is the phone.
//
// A session is one operation on one connection:
//
//	server  AUTH_REQUEST
//	phone   AUTH_RESPONSE                 device name, authentication string
//	server  KEY_GENERATE_REQUEST          install only; FETCH or DELETE otherwise
//	phone   KEY_GENERATE_RESPONSE         bare public key
//	server  STORE_CERTIFICATE_REQUEST
//	phone   STORE_CERTIFICATE_RESPONSE
//	server  END_SESSION
//
// What clients in the field need is built in and cannot be switched off: each message leaves in one write and in one
// TLS record (up to the 16 KiB that a record holds), no client certificate is asked for, version 2 clients get no
// element that they do not know.
//
// A phone that authenticates by certificate is handed to the Service as it showed itself; [Credential.VerifySignatures]
// and [SUDI.Verify] check its signatures. Whose certificate it is, who issued it and whether it is still valid is the
// Service's to judge.
//
// Two messages of which nobody has published the bytes can be switched on for a Task, because the open clients fail on
// them: REQUEST_IN_PROGRESS from the server (17) and RETRY_LATER (16, with the delay as four bytes of seconds). A server
// can record whole sessions as evidence of the rest ([Server.Recorder], [RecordDir]).
//
// Not implemented: the other commands whose bytes nobody has published (5 to 8, 19, 21 to 23, and 16 from a phone): the
// server logs them in hex and ends the session.
//
// A Server is safe for concurrent use, a Client runs one session at a time. Nothing in this package keeps an
// authentication string longer than its session or writes it to a log.
package capf
