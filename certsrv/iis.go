package certsrv

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// loginRows are the rows of the web server's log (sc-status sc-substatus sc-win32-status) that tell why a login was refused.
// The answer itself tells as good as nothing.
const loginRows = "the web server's log tells more by the numbers at the end of the row: 401 2 5 no method in common; " +
	"401 1 1326 or 401 1 2148074252 name, password, account or channel binding; 401 1 2148074310 channel binding; " +
	"401 1 2148074248 a load balancer splits the login; 401 3 5 permissions"

var substatusNumber = regexp.MustCompile(`\b([345]\d\d)\.(\d{1,2})\b`)

// substatus returns the number behind the point of "403.4", which the web server's error pages show where they are set to
// be detailed; -1 for none.
func substatus(status int, body []byte) int {
	text := parsePage(body).text
	for _, m := range substatusNumber.FindAllStringSubmatch(text, 16) {
		if m[1] == strconv.Itoa(status) {
			n, err := strconv.Atoi(m[2])
			if err == nil {
				return n
			}
		}
	}
	return -1
}

// refusal says what a status of the web server means, with its substatus where the page shows one.
type refusal struct {
	status, sub int // sub -1: any other
	fix         string
}

var refusals = []refusal{
	{http.StatusUnauthorized, 1, "check user name (DOMAIN\\user or user@REALM), password and account; " + loginRows},
	{http.StatusUnauthorized, 2, "switch Windows Authentication on for certsrv (providers Negotiate and NTLM), or install and switch on Basic Authentication and use that; " + loginRows},
	{http.StatusUnauthorized, 3, "the login is right and the account may not read the pages: give Authenticated Users Read on %windir%\\system32\\certsrv"},
	{http.StatusUnauthorized, -1, "the connection was logged in and the page refuses it: check that the web server keeps authentication for the connection (authPersistSingleRequest off), the page's permissions (401.3), and that no load balancer is between; " + loginRows},
	{http.StatusForbidden, 1, "the pages must be allowed to run scripts: handler mappings of certsrv, feature permission Script"},
	{http.StatusForbidden, 4, "use an https URL: the certsrv directory requires SSL"},
	{http.StatusForbidden, 5, "use an https URL: the certsrv directory requires SSL of 128 bits"},
	{http.StatusForbidden, 6, "allow this machine's address: IP Address and Domain Restrictions of the site"},
	{http.StatusForbidden, 7, "the site demands a client certificate: set SSL Settings, Client certificates to Ignore for certsrv, or give one in the TLS settings"},
	{http.StatusForbidden, 13, "the client certificate is revoked, or the web server cannot fetch the CRL: renew it, or let the server reach the CRL"},
	{http.StatusForbidden, 14, "the pages are not there or have no default document: install the role service Certification Authority Web Enrollment"},
	{http.StatusForbidden, 16, "the client certificate is not trusted: import its root on the web server (machine store, Trusted Root Certification Authorities), which must hold no certificate that is not self-signed"},
	{http.StatusForbidden, 17, "the client certificate has expired or is not yet valid: renew it, or set the clock of the web server"},
	{http.StatusForbidden, -1, "let the account use the pages: use https, check the permissions of the certsrv directory, and whether the site demands a client certificate"},
	{http.StatusNotFound, 2, "allow Active Server Pages on this server: ISAPI and CGI Restrictions, asp.dll"},
	{http.StatusNotFound, 3, "add the handler for .asp pages: install the feature ASP of the web server"},
	{http.StatusNotFound, -1, "install the role service Certification Authority Web Enrollment on this server, or correct the URL"},
	{http.StatusInternalServerError, 19, "correct the web.config or applicationHost.config that the page names"},
	{http.StatusServiceUnavailable, -1, "start the application pool of certsrv (DefaultAppPool); why it stopped is in the System event log (WAS) and in HTTPERR, not in the site's log"},
}

// serverFix is for every other failure of the server.
const serverFix = "read the web server's event log; restart the application pool of certsrv when the error stays; the site's log has the row 500 0 for a script that failed"

// refusalFix says what to do about a status of the web server.
func refusalFix(status int, body []byte) string {
	sub := substatus(status, body)
	for _, r := range refusals {
		if r.status == status && (r.sub == sub || r.sub < 0) {
			if r.sub < 0 && sub >= 0 {
				return fmt.Sprintf("the page says %d.%d; %s", status, sub, r.fix)
			}
			return r.fix
		}
	}
	return serverFix
}

// signInWords are in the paths of pages that ask people for passwords.
var signInWords = []string{"login", "logon", "signin", "sign-in", "adfs", "saml", "oauth", "sso", "owa", "auth", "portal"}

// redirectProblem explains an answer that leads elsewhere. It is never followed: with Basic the password would go along, and
// what answers there did not log us in.
func redirectProblem(op, from string, status int, location string) *Problem {
	p := &Problem{ErrCode: CodeRedirected, Op: op, URL: from, HTTPStatus: status}
	base, err := url.Parse(from)
	if err != nil {
		base = &url.URL{}
	}
	to, err := base.Parse(location)
	if location == "" || err != nil || to.Host == "" {
		p.Detail = fmt.Sprintf("%s answered %d %s and does not say where to", from, status, http.StatusText(status))
		p.Fix = "take the redirect off (HTTP Redirect of the site and of certsrv), and check for a proxy between"
		return p
	}
	// Only these parts: the rest may hold a token.
	shown := oneLine((&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String())
	p.Detail = fmt.Sprintf("%s answered %d %s to %s, which is not followed: credentials go nowhere else", from, status, http.StatusText(status), shown)
	other := !strings.EqualFold(to.Hostname(), base.Hostname())
	place := strings.ToLower(to.Path)
	if other {
		place = strings.ToLower(to.Host) + place
	}
	switch {
	case slices.ContainsFunc(signInWords, func(w string) bool { return strings.Contains(place, w) }):
		p.Fix = "exempt /certsrv from the sign-in page (federation, portal or pre-authentication of a proxy): only Windows and Basic authentication work here"
	case other:
		p.Fix = fmt.Sprintf("if %s is the web server that is meant, set the URL to https://%s/certsrv; if not, take the proxy or the redirect out of the way", to.Hostname(), to.Host)
	case to.Scheme == "http":
		p.Fix = "serve the pages by https from end to end: a proxy in front that speaks plain http to the web server makes such redirects, and breaks channel binding"
	default:
		p.Fix = "take the redirect off (HTTP Redirect of the site and of certsrv), and check for a proxy between"
	}
	return p
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// okLogin tells whether a login's answer is one: the redirect to /certsrv/ of IIS, or the page itself. A redirect to the
// same pages under another name is an answer when the login was proven by a challenge; with Basic anybody could have sent it.
func okLogin(status int, location string, base *url.URL, proven bool) bool {
	if status == http.StatusOK {
		return true
	}
	if !isRedirect(status) || status == http.StatusSeeOther {
		return false
	}
	to, err := base.Parse(location)
	return err == nil && location != "" && strings.EqualFold(strings.TrimRight(to.Path, "/"), loginPath) &&
		(proven || strings.EqualFold(to.Hostname(), base.Hostname()))
}

// leadsToPages tells whether a redirect is that of IIS from /certsrv to /certsrv/ on the same host.
func leadsToPages(from, location string) bool {
	base, err := url.Parse(from)
	return err == nil && okLogin(http.StatusMovedPermanently, location, base, false)
}
