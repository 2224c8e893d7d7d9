// Package probe looks at servers from outside, as their clients see them. It begins with one TLS handshake: what a server
// presents, whoever made it and however wrong it is. Nothing is verified here; that is for chain, or for whoever asks.
//
//	p, err := probe.Handshake(ctx, probe.Target{Address: "cucm.example.com:8443"})
//	if err != nil {
//		return err // nothing was presented: *probe.Error with a code and a remedy
//	}
//	result := verifier.Verify(chain.ParseAll(p.Certificates), "cucm.example.com")
//
// Certificates come as they were sent, octet by octet, also those that crypto/x509 cannot parse: these are taken out of
// what was received in the clear, for which a server with TLS 1.3 is greeted a second time with TLS 1.2. A handshake that
// fails after the server has presented its certificates, mostly because it demands one of the client, gives them all the
// same, and Presented.Incomplete says what happened.
//
// TLS 1.0 to 1.3 with every cipher suite of crypto/tls is offered, so that old servers can be looked at as well. Nothing
// confidential is ever sent, no session is kept, and no application data is read or written.
//
// Functions are safe for concurrent use.
package probe
