package winauth

import "net/http"

// Offered returns the authentication schemes that the WWW-Authenticate fields of an answer offer, as the server wrote and
// ordered them.
func Offered(h http.Header) []string { return schemes(offers(h)) }
