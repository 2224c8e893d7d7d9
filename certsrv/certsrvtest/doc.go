// Package certsrvtest is a simulated Microsoft AD CS Web Enrollment server ("/certsrv"), built for tests and
// demonstrations of its clients. It is faithful where a client can tell the difference, and it is no toy: NTLMv2 proofs
// are computed and compared, Kerberos tickets are decrypted by a keytab, signatures of PKCS #10 and CMC requests are
// verified, and what it hands out was issued by a real CA behind the interface [CA].
//
// It implements the pages, identifiers and status codes that public clients rely on; IIS's connection-based NTLM,
// Negotiate (Kerberos and NTLM, in SPNEGO and bare), Basic, and Extended Protection (channel binding); the layouts chosen by
// User-Agent, English and French pages, CA renewals, pending requests with an administrator who approves or denies
// ([Server.Approve], [Server.Deny], [Server.AdminHandler]); and IIS's W3C log. It does not map client certificates to
// accounts, and with Extended Protection it checks no service name. All page texts are our own; only identifiers and the
// strings that clients search for are shared with the original.
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
// # Ways to break
//
// On request the server does what the field reports of bad days. [ParseScenario] reads a comma-separated list of these words,
// for instance "slow=2s,pending,lang=fr,epa=require". Those of the first table concern certificate requests ([Behaviour])
// and may be given to a single template, too; those of the second concern the server as a whole ([Conditions]). Both can be
// changed while it runs ([Server.SetScenario], [Server.AdminHandler]). Words are stable.
//
// Requests:
//
//	issue                        issue at once, also on a standalone CA
//	pending                      keep the request until it is approved or denied
//	deny[=0xHRESULT]             deny with this status; without one as a CA manager denies (0x80094014)
//	rpc-down                     the web server cannot reach its CA (0x800706BA)
//	500                          certfnsh.asp fails with HTTP 500
//	hang                         no answer until the client goes away, and nothing is recorded
//	drop                         issue, then end the connection in place of the answer
//	truncate                     issue, then end the connection in the middle of the answer
//	reset                        issue, then reset the connection in the middle of the answer
//	other-key                    issue a certificate for a key that is not that of the request
//	slow=DURATION                wait before the request is looked at
//	approve=DURATION             approve pending requests when somebody looks at them that much later
//	times=N                      treat only the first N requests so, the others as usual
//
// The server:
//
//	lang=en|fr                   language of the pages; for a template: of the answers
//	auth=SCHEME[+SCHEME...]      ways to log in: negotiate, kerberos (Negotiate without NTLM), ntlm, basic
//	epa=off|accept|require       Extended Protection: channel bindings are ignored, checked where sent, required
//	standalone                   a standalone CA: no templates, requests are pending
//	slow-login=DURATION          wait before credentials are judged
//	slow-pages=DURATION          wait before each page after the login
//	reauth                       each request must log in, connections remember nobody
//	split                        a load balancer sends the legs of a login to different servers (401.1, 2148074248)
//	401                          every login is refused, for ever
//	401.3                        the login succeeds and the file system denies the account
//	403.4                        SSL is required and IIS sees none
//	403.7                        a client certificate is required
//	503                          the application pool is stopped
//	sign-in                      a proxy in between answers its sign-in page with HTTP 200
//	redirect=URL|PATH            every page redirects there after the login
//	close                        the connection ends after each answer but 401, unannounced
//	no-keep-alive                the connection ends after each answer, announced: NTLM is impossible
//	content-type=TYPE            certificates, chains and CRLs come with this media type
//	login=FAULT                  GET /certsrv fails so after the login
//	certrqxt=FAULT               the template list fails so
//	certcarc=FAULT               the list of CA certificates fails so; 404: a server without certcarc.asp
//	certnew=FAULT                certificates and chains fail so
//	certcrl=FAULT                CRLs fail so
//
// FAULT is a status (403, 404, 500, 503), or how the connection breaks: drop, truncate, reset.
//
// A Server is safe for concurrent use.
package certsrvtest
