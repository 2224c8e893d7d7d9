// Package certsrv is a client of Active Directory Certificate Services Web Enrollment, the pages under /certsrv of a
// Windows web server ([MS-WCCE] describes the CA behind them).
//
// A [Client] logs in by NTLM, Kerberos or Basic (package winauth), checks that a certificate template is offered, submits a
// request, fetches what was issued, and reads the CA's certificates, the newest first, and its CRLs. It reads the pages of
// servers in every language: outcomes are recognised by element identifiers, links, disposition numbers and status codes;
// English words are only a fallback.
//
//	c := &certsrv.Client{
//		URL:  "https://lab-dc.example.net/certsrv",
//		Auth: winauth.Credentials{User: `LAB\ra`, Password: winauth.NewPassword(password)},
//		TLS:  &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
//	}
//	defer c.Close()
//	answer, err := c.Enroll(ctx, certsrv.EnrollOptions{Submission: certsrv.Submission{Request: csr, Template: "Phone"}})
//
// # Answers and errors
//
// What the CA decided is an [Answer] with a nil error: issued, pending, denied or failed. [Answer.Problem] turns the
// last two into an error. Everything that kept the CA's word from us is an error, always a [*Problem]: no connection, no
// login, no right to see the page, a page that nobody understands.
//
// A request is posted at most once for a call. When the connection breaks after that, the CA may have issued: the error
// then satisfies errors.Is(err, ErrAnswerLost), and the caller looks for the certificate by request id before it posts
// again. The same holds where the web server lost the CA in the middle of a call (StatusRPCCallFailed).
//
// Status codes are explained by [LookupHResult], and for requests that an enrollment agent signed by [LookupAgentHResult].
// What the web server itself refuses is explained by status and substatus, with the rows of its log to look for. A redirect
// is never followed: credentials go to no other host.
//
// # Compatibility
//
// With [Client.Compat] the client sends what Cisco's registration authority sends, in the same order, each login on a
// connection of its own, with its user agent, so that tools and people who read the web server's log recognise it. The
// one deviation: it also asks certcarc.asp which CA certificate is the newest.
//
// # Not here
//
// A login by client certificate: Client.TLS may show one to a server that demands it, besides the login. Several web
// servers: a name that leads to one of them after the other does, as long as each connection stays with one. Mode=chkpnd of
// certfnsh.asp: a pending request is fetched from certnew.cer until it is decided. The SOAP interfaces of CES and CEP; NDES.
package certsrv
