package est

import "net/http"

// operation is one row of RFC 7030's operations: how it is called, what it takes, and who serves it.
type operation struct {
	name   string
	method string
	media  string // media type of the request body; empty for none
	serve  func(x *exchange, o operation) error
}

// findOperation looks up the operations of RFC 7030 section 3.2.2. Those of RFC 8295 are unknown here.
func findOperation(name string) (operation, bool) {
	const pkcs10, pkcs7 = "application/pkcs10", "application/pkcs7-mime"
	for _, o := range [...]operation{
		{name: "cacerts", method: http.MethodGet, serve: (*exchange).cacerts},
		{name: "simpleenroll", method: http.MethodPost, media: pkcs10, serve: (*exchange).simpleenroll},
		{name: "simplereenroll", method: http.MethodPost, media: pkcs10, serve: (*exchange).simplereenroll},
		{name: "fullcmc", method: http.MethodPost, media: pkcs7, serve: (*exchange).fullcmc},
		{name: "serverkeygen", method: http.MethodPost, media: pkcs10, serve: (*exchange).serverkeygen},
		{name: "csrattrs", method: http.MethodGet, serve: (*exchange).csrattrs},
	} {
		if o.name == name {
			return o, true
		}
	}
	return operation{}, false
}
