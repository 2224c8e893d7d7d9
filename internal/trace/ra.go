package trace

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxConns bounds the table of connection numbers; nothing tells when a connection has ended.
const maxConns = 4096

func raRenderer(name string) func(*core, *page, event) {
	switch name {
	case "ra.start":
		return raStart
	case "ra.anchor":
		return raAnchor
	case "ra.pop_disabled":
		return raPOPDisabled
	case "ra.pid":
		return raPID
	case "ra.chain_ready":
		return raChainReady
	case "ra.chain_failed":
		return raChainFailed
	case "certsrv.login":
		return certsrvLogin
	case "certsrv.login_failed":
		return certsrvLoginFailed
	case "certsrv.page":
		return certsrvPage
	case "certsrv.cacerts":
		return certsrvCACerts
	case "certsrv.cacerts_failed":
		return certsrvCACertsFailed
	case "est.handshake":
		return estHandshake
	case "est.auth_failed":
		return estAuthFailed
	case "est.failed":
		return estFailed
	case "est.request":
		return estRequest
	default:
		return nil
	}
}

// nginx writes a line of the start log.
func (p *page) nginx(level, text string) { fmt.Fprintf(&p.start, "nginx: [%s] %s\n", level, text) }

// libEST writes a line of libEST, without time as in the original. where is function and line number.
func libEST(b interface{ WriteString(string) (int, error) }, level, where, text string) {
	_, _ = b.WriteString("***EST [" + level + "][" + where + "]--> " + text + "\n")
}

// nginxLog writes a line of error.log. When the event names a client it carries the connection's number and the tail
// that nginx adds; libEST's callers end their texts with a line end, which puts the tail on a line of its own.
func (c *core) nginxLog(p *page, e event, level, text string) {
	number, tail := "", ""
	if client := e.host("peer"); client != "" {
		number = fmt.Sprintf("*%d ", c.conn(e.text("peer")))
		tail = fmt.Sprintf("\n while SSL EST handshaking, client: %s, server: %s", client, c.Server)
	}
	fmt.Fprintf(&p.errors, "%s [%s] %d#0: %s%s%s\n", e.at.Format("2006/01/02 15:04:05"), level, c.PID, number, text, tail)
}

// conn returns the number of a client's connection.
func (c *core) conn(peer string) int {
	if n, ok := c.conns[peer]; ok {
		return n
	}
	return c.newConn(peer)
}

func (c *core) newConn(peer string) int {
	if len(c.conns) >= maxConns {
		clear(c.conns)
	}
	c.lastConn++
	c.conns[peer] = c.lastConn
	return c.lastConn
}

func raStart(c *core, p *page, _ event) {
	c.starting, c.anchors = true, nil
	p.nginx("warn", "CA Chain requested but this value has not yet been set")
	p.nginx("warn", "CA Cert response requested but this value has not yet been set")
}

func raAnchor(c *core, p *page, e event) {
	name := slashName(e.text("subject"))
	if len(c.anchors) < maxConns {
		c.anchors = append(c.anchors, name)
	}
	p.nginx("warn", "ossl_init_cert_store: Adding cert to store ("+name+")")
}

// raPOPDisabled ends the listing of the anchors: libEST says its version and lists them once more.
func raPOPDisabled(c *core, p *page, _ event) {
	const library = "CiscoSSL 1.0.2n.6.2.194-fips"
	libEST(&p.start, "INFO", "est_log_version:216", "libest 2.2.0 (API level 4)")
	libEST(&p.start, "INFO", "est_log_version:220", "Compiled against "+library)
	libEST(&p.start, "INFO", "est_log_version:221", "Linking to "+library)
	for _, name := range c.anchors {
		libEST(&p.start, "INFO", "ossl_init_cert_store_from_raw:182", "Adding cert to store ("+name+")")
	}
	c.anchors = nil
	p.nginx("warn", "pop_enabled off in nginx.conf. Disabling EST Proof of Possession")
	libEST(&p.start, "INFO", "set_ssl_option:1378", "Using non-default ECDHE curve (nid=415)")
	libEST(&p.start, "INFO", "set_ssl_option:1432", "TLS SRP not enabled")
}

func raPID(_ *core, p *page, e event) {
	p.start.WriteString("EnrollmentService.sh : nginx server PID value = " + e.number("pid") + "\n")
}

func raChainReady(c *core, p *page, e event) {
	c.starting = false
	c.nginxLog(p, e, "info", "ra_certsrv_ca_plugin_postconf: CA Cert chain retrieved from CA, will be passed to EST")
}

func raChainFailed(c *core, p *page, e event) {
	c.warn(p, e, "warn", "ra_certsrv_ca_plugin_postconf: Unable to retrieve CA Cert chain from CA")
}

// warn writes to the start log while the RA starts, as the original does before its log is open, else to error.log.
func (c *core) warn(p *page, e event, level, text string) {
	if c.starting && e.text("peer") == "" {
		p.nginx(level, text)
		return
	}
	c.nginxLog(p, e, level, text)
}

// done writes that a request to the CA worked. The size of the page is written for requests that serve a client only,
// not at the start.
func (c *core) done(p *page, e event, function string, withSize bool) {
	if withSize && !c.starting {
		c.nginxLog(p, e, "info", "ra_certsrv_auth_curl_data_cb: Rcvd data len: "+e.number("bytes"))
	}
	c.nginxLog(p, e, "info", function+": Secure connection to MS CertServ completed successfully using the following URL\n"+withPort(e.text("url")))
}

func certsrvLogin(c *core, p *page, e event)   { c.done(p, e, "login_to_certsrv_ca", true) }
func certsrvPage(c *core, p *page, e event)    { c.done(p, e, "navigate_to_certsrv_page", true) }
func certsrvCACerts(c *core, p *page, e event) { c.done(p, e, "retrieve_cacerts", false) }

func certsrvLoginFailed(c *core, p *page, e event) {
	c.warn(p, e, "warn", "login_to_certsrv_ca: Curl call for MS CA login failed with return code "+curlCause(e))
	c.warn(p, e, "warn", "login_to_certsrv_ca: URL used: "+withPort(e.text("url")))
	if c.starting {
		c.warn(p, e, "error", "retrieve_cacerts: Unable to execute login to certsrv with curl")
	}
}

func certsrvCACertsFailed(c *core, p *page, e event) {
	c.warn(p, e, "warn", "retrieve_cacerts: Curl request failed with return code "+curlCause(e))
	c.warn(p, e, "warn", "retrieve_cacerts: URL used: "+withPort(e.text("url")))
}

func curlCause(e event) string { return e.number("curl_code") + " (" + e.text("curl_text") + ")" }

func estHandshake(c *core, p *page, e event) {
	c.newConn(e.text("peer"))
	if !e.is("client_certificate") {
		libEST(&p.errors, "INFO", "est_enroll_auth:356", "TLS: no peer certificate")
	}
}

func estAuthFailed(_ *core, p *page, e event) {
	libEST(&p.errors, "WARNING", "est_enroll_auth:394", "HTTP authentication failed. Auth type="+e.number("auth_type"))
}

// unauthorized is all that libEST says with status 401.
const unauthorized = "The server was unable to authorize the request."

// estFailed writes libEST's block for a refused request. Its texts end with line ends of their own.
func estFailed(_ *core, p *page, e event) {
	code, err := strconv.Atoi(e.number("status"))
	if err != nil {
		code = http.StatusInternalServerError
	}
	cause := e.number("rv") + " (" + e.text("rv_name") + ")"
	text := e.text("text")
	if strings.HasPrefix(text, unauthorized) {
		text = unauthorized // the original leaves the reason to be found out; it is in our own log
	}
	libEST(&p.errors, "WARNING", "est_http_request:1435", "Enrollment failed with rc="+cause+"\n")
	if code >= http.StatusBadRequest { // an answer that did not reach its client is no refusal
		libEST(&p.errors, "INFO", "mg_send_http_error:389", fmt.Sprintf("[Error %d: %s\n%s\n]", code, http.StatusText(code), text))
	}
	libEST(&p.errors, "ERROR", "est_mg_handler:1234", "EST error response code: "+cause+"\n")
	libEST(&p.errors, "WARNING", "handle_request:1267", "Incoming request failed rv="+cause)
}

// estRequest writes libEST's access lines. A refusal's body is not counted there, and the connection ends with it.
func estRequest(_ *core, p *page, e event) {
	status, err := strconv.Atoi(e.number("status"))
	failed := err != nil || status >= http.StatusBadRequest
	size := e.number("bytes")
	if failed {
		size = "0"
	}
	libEST(&p.errors, "INFO", "log_access:1298", fmt.Sprintf("%s [%s] \"%s %s %s\" %s %s", e.host("peer"),
		e.at.Format("02/Jan/2006:15:04:05 -0700"), e.text("method"), e.text("path"), e.textOr("proto", "HTTP/1.1"), e.number("status"), size))
	for _, header := range []string{e.text("referer"), e.text("user_agent")} {
		if header == "" {
			libEST(&p.errors, "INFO", "log_header:1276", "-")
		} else {
			libEST(&p.errors, "INFO", "log_header:1278", `"`+header+`"`)
		}
	}
	if failed {
		libEST(&p.errors, "WARNING", "est_server_handle_request:1716", "SSL_shutdown failed")
	}
}

// withPort writes the port into an https URL, as the RA's configuration has it.
func withPort(url string) string {
	rest, ok := strings.CutPrefix(url, "https://")
	if !ok {
		return url
	}
	authority, path, _ := strings.Cut(rest, "/")
	host := authority[strings.LastIndex(authority, "]")+1:] // behind an IPv6 address
	if strings.Contains(host, ":") {
		return url
	}
	url = "https://" + authority + ":443"
	if strings.Contains(rest, "/") {
		url += "/" + path
	}
	return url
}

// slashName turns a name in RFC 4514 form, most specific part first, into OpenSSL's one-line form, in the order of the
// certificate: "CN=a,O=b" becomes "/O=b/CN=a". Other text is returned as it is.
func slashName(name string) string {
	if name == "" || strings.HasPrefix(name, "/") {
		return name
	}
	var out strings.Builder
	parts := splitName(name)
	for _, part := range slices.Backward(parts) {
		out.WriteString("/" + unescape(strings.TrimSpace(part)))
	}
	return out.String()
}

// splitName splits at commas that are not escaped.
func splitName(name string) []string {
	var parts []string
	start := 0
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case ',':
			parts = append(parts, name[start:i])
			start = i + 1
		}
	}
	return append(parts, name[start:])
}

// unescape removes the backslashes of RFC 4514 before special characters.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`,+"\<>;=# `, s[i+1]) >= 0 {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
