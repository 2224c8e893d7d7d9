package certsrvtest

import (
	"errors"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"
	"time"
)

// EPA is IIS's Extended Protection for Authentication (tokenChecking): what is expected of the channel binding
// (RFC 5929 tls-server-end-point) in NTLM and Kerberos logins over TLS. Without TLS nothing is expected.
type EPA string

// Values of EPA.
const (
	EPAOff     EPA = "off"     // bindings are not looked at
	EPAAccept  EPA = "accept"  // a login without binding passes; one with a wrong or all-zero binding does not
	EPARequire EPA = "require" // a login without binding does not pass either
)

func (e EPA) check() error {
	switch e {
	case "", EPAOff, EPAAccept, EPARequire:
		return nil
	}
	return fmt.Errorf("extended protection %q is none of off, accept, require", string(e))
}

// Refusal is an answer that every request gets in place of a page.
type Refusal string

// Refusals.
const (
	// RefuseLogin refuses every login, whatever the credentials, as an account that may not log on here meets it.
	RefuseLogin Refusal = "401"
	// RefuseACL is 401.3: the login succeeds and the file system denies the account.
	RefuseACL Refusal = "401.3"
	// RefuseNoTLS is 403.4: "Require SSL" is set and IIS sees plain HTTP, for instance because a proxy ends TLS.
	RefuseNoTLS Refusal = "403.4"
	// RefuseNoClientCert is 403.7: a client certificate is required.
	RefuseNoClientCert Refusal = "403.7"
	// RefusePoolDown is the 503 that HTTP.sys answers while the application pool is stopped. IIS logs nothing.
	RefusePoolDown Refusal = "503"
	// RefuseSignIn is the sign-in page of a proxy in between: HTTP 200, HTML that is none of web enrollment. IIS logs nothing.
	RefuseSignIn Refusal = "sign-in"
)

var refusals = []Refusal{RefuseLogin, RefuseACL, RefuseNoTLS, RefuseNoClientCert, RefusePoolDown, RefuseSignIn}

// PageFault is how one page fails: an HTTP status, or a way to break its answer.
type PageFault string

// Page faults besides the statuses "403", "404", "500" and "503".
const (
	FaultDrop     PageFault = "drop"     // the connection ends in place of an answer
	FaultTruncate PageFault = "truncate" // the connection ends in the middle of the answer
	FaultReset    PageFault = "reset"    // it is reset there (RST)
)

var pageFaults = []PageFault{"403", "404", "500", "503", FaultDrop, FaultTruncate, FaultReset}

// Conditions are what the server is like and what stands between it and its clients, as opposed to what it does with
// requests ([Behaviour]). The zero value is a server as [Config] describes it.
type Conditions struct {
	Auth Schemes // in place of the schemes of Config; empty: those
	EPA  EPA     // in place of Config.EPA; empty: that
	Lang Lang    // of all pages, in place of Config.Lang; empty: that
	// Standalone makes the CA a standalone one, as Config.Standalone does.
	Standalone bool

	SlowLogin time.Duration // before credentials are judged: a slow domain controller
	SlowPages time.Duration // before every page but GET /certsrv, for accounts that are logged in: a slow CA
	// Reauth is IIS's authPersistSingleRequest: each request must log in, its connection remembers nobody.
	Reauth bool
	// Split is a load balancer that sends the requests of one connection to different servers: the legs of an NTLM login
	// do not meet, the second one is 401.1 with 2148074248.
	Split bool
	// Refusal is what every request gets in place of a page; empty: nothing.
	Refusal Refusal
	// Redirect is where every page redirects to after the login (302): an URL or a path; empty: nowhere.
	Redirect string
	// CloseConnections ends the connection after each answer but 401, without announcing it.
	CloseConnections bool
	// NoKeepAlive ends the connection after each answer and says so ("Connection: close"): HTTP keep-alive is switched off
	// in IIS, and no NTLM login can succeed.
	NoKeepAlive bool
	// ContentType is the media type of certificates, chains and CRLs; empty: the right one.
	ContentType string

	// How single pages fail for accounts that are logged in; empty: not.
	Login          PageFault // GET /certsrv
	TemplateList   PageFault // certrqxt.asp and certrqma.asp
	CACertificates PageFault // certcarc.asp
	Certificate    PageFault // certnew.cer and certnew.p7b
	CRL            PageFault // certcrl.crl
}

// IsZero tells whether c is the zero value: a server as its Config describes it.
func (c Conditions) IsZero() bool { return c == Conditions{} }

func (c Conditions) check() error {
	for _, err := range []error{c.Auth.check(), c.EPA.check(), c.Lang.check()} {
		if err != nil {
			return err
		}
	}
	if c.SlowLogin < 0 || c.SlowPages < 0 {
		return errors.New("negative delay")
	}
	if c.Refusal != "" && !slices.Contains(refusals, c.Refusal) {
		return fmt.Errorf("unknown refusal %q", string(c.Refusal))
	}
	for _, f := range c.faults() {
		if *f.fault != "" && !slices.Contains(pageFaults, *f.fault) {
			return fmt.Errorf("%s: %q is none of %s", f.word, string(*f.fault), list(pageFaults))
		}
	}
	if err := checkRedirect(c.Redirect); err != nil {
		return err
	}
	if c.ContentType != "" {
		if _, _, err := mime.ParseMediaType(c.ContentType); err != nil || !printable(c.ContentType) || strings.Contains(c.ContentType, ",") {
			return fmt.Errorf("%q is no media type", c.ContentType)
		}
	}
	return nil
}

// checkRedirect wants something that fits into a Location header and into a list of words.
func checkRedirect(to string) error {
	if to == "" {
		return nil
	}
	u, err := url.Parse(to)
	absolute := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	if !absolute && (err != nil || u.Scheme != "" || !strings.HasPrefix(to, "/")) || strings.Contains(to, ",") || !printable(to) {
		return fmt.Errorf("%q is neither an http(s) URL nor an absolute path", to)
	}
	return nil
}

// printable tells whether s is ASCII without white space at its ends and without control characters.
func printable(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func list[T ~string](all []T) string {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = string(a)
	}
	return strings.Join(words, ", ")
}

// faultOf is a page, or a group of pages, by its word.
type faultOf struct {
	word  string
	fault *PageFault
}

func (c *Conditions) faults() []faultOf {
	return []faultOf{
		{"login", &c.Login}, {"certrqxt", &c.TemplateList}, {"certcarc", &c.CACertificates}, {"certnew", &c.Certificate}, {"certcrl", &c.CRL},
	}
}

// String returns the form that [ParseScenario] reads; empty for the zero value.
func (c Conditions) String() string { return strings.Join(c.words(), ",") }

func (c Conditions) words() []string {
	var words []string
	flag := func(name string, set bool) {
		if set {
			words = append(words, name)
		}
	}
	value := func(name, v string) { flag(name+"="+v, v != "") }
	value("auth", string(c.Auth))
	value("epa", string(c.EPA))
	flag("standalone", c.Standalone)
	if c.SlowLogin > 0 {
		value("slow-login", c.SlowLogin.String())
	}
	if c.SlowPages > 0 {
		value("slow-pages", c.SlowPages.String())
	}
	flag("reauth", c.Reauth)
	flag("split", c.Split)
	flag(string(c.Refusal), c.Refusal != "")
	value("redirect", c.Redirect)
	flag("close", c.CloseConnections)
	flag("no-keep-alive", c.NoKeepAlive)
	value("content-type", c.ContentType)
	for _, f := range c.faults() {
		value(f.word, string(*f.fault))
	}
	value("lang", string(c.Lang))
	return words
}
