// Package certsrvtest is a simulated Microsoft AD CS Web Enrollment server ("/certsrv"), built for tests and
// demonstrations of its clients. It is faithful where a client can tell the difference, and it is no toy: NTLMv2 proofs
// are computed and compared, signatures of PKCS #10 and CMC requests are verified, and what it hands out was issued by
// a real CA behind the interface [CA].
//
// It implements the pages, identifiers and status codes that public clients rely on, IIS's connection-based NTLM,
// Basic, the layouts chosen by User-Agent, English and French pages, CA renewals, pending requests with an administrator
// who approves or denies ([Server.Approve], [Server.Deny], [Server.AdminHandler]), IIS's W3C log, and, on request, the
// failures of a bad day ([Behaviour]). Not yet: Negotiate with Kerberos, extended protection (channel binding) and
// client certificates. All page texts are our own; only identifiers and the strings that clients search for are shared
// with the original.
//
//	s, err := certsrvtest.New(certsrvtest.Config{
//		CA:        myCA,
//		Users:     []certsrvtest.User{{Name: `LAB\ra`, Password: "secret"}},
//		Templates: []certsrvtest.Template{{Name: "Phone", RASignatures: 1}},
//	})
//	go s.Serve(listener, &tls.Config{Certificates: []tls.Certificate{cert}})
//	defer s.Close()
//
// NTLM authenticates a TCP connection, so the handler must know which connection a request came by: use
// [Server.Serve], or [Server.HTTPServer], or set [Server.ConnContext] in an http.Server of your own, with HTTP/1.1 only.
//
// A Server is safe for concurrent use.
package certsrvtest
