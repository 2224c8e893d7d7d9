// Package winauth logs in to a Windows web server over one connection that it owns.
//
// NTLM authenticates a TCP connection, not a request: the three messages of its handshake, and every request that is to
// count as authenticated, must travel on the same connection. A pooling HTTP client cannot promise that. So this package
// dials, does TLS, writes requests and reads answers by itself, one after the other, on one [Conn].
//
//	d := winauth.Dialer{TLS: &tls.Config{RootCAs: roots}}
//	conn, err := d.Dial(ctx, "https://lab-dc.example.net")
//	...
//	defer conn.Close()
//	answer, err := conn.Login(ctx, winauth.Request{Path: "/certsrv"}, credentials)
//	...
//	answer, err = conn.Do(ctx, winauth.Request{Path: "/certsrv/certrqxt.asp"})
//
// The first request of an NTLM login carries the negotiate message already; there is no anonymous probe, so the server
// logs one 401 for each login. The body of a request is never part of a handshake: a login is a GET, and Do sends its
// request exactly once.
//
// # Methods
//
// NTLM (NTLMv2 only, [MS-NLMP], with MIC) in the scheme NTLM, or bare inside Negotiate where the server offers nothing else;
// Negotiate with a Kerberos ticket ([Kerberos], by password or keytab), one request for a login; and Basic (RFC 7617), sent
// with every request and over TLS only.
//
// NTLM and Kerberos logins carry the channel binding of the TLS connection ([ChannelBinding]), which Extended Protection of
// IIS demands, unless [Dialer.NoChannelBinding] leaves it out.
//
// # Concurrency
//
// A Dialer and a Kerberos may be used by several goroutines at once, a Conn by one at a time.
package winauth
