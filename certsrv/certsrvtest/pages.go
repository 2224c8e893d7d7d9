package certsrvtest

import (
	"encoding/pem"
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"
)

// layout is how a page is written for a kind of browser.
type layout int

const (
	layoutText   layout = iota // unknown agents: plain links
	layoutScript               // Mozilla-like
	layoutIE                   // script, with the marker of the old Internet Explorer pages
)

func layoutOf(userAgent string) layout {
	switch {
	case strings.Contains(userAgent, "MSIE"), strings.Contains(userAgent, "Trident"):
		return layoutIE
	case strings.Contains(userAgent, "Mozilla"), strings.Contains(userAgent, "Opera"):
		return layoutScript
	}
	return layoutText
}

// page collects the lines of a page; every line ends with CRLF.
type page struct {
	b strings.Builder
	w *words
}

func (s *Server) newPage(l Lang, title string) *page {
	p := &page{w: l.words()}
	p.line(`<HTML>`)
	p.line(`<Head><Meta HTTP-Equiv="Content-Type" Content="text/html; charset=UTF-8">`)
	p.line(`<Title>Microsoft Active Directory Certificate Services</Title></Head>`)
	p.line(`<Body>`)
	p.line(`<LocID ID=locMSCertSrv>&nbsp;--&nbsp; ` + html.EscapeString(s.cfg.CAName) + ` &nbsp;</LocID>`)
	p.line(`<P ID=locPageTitle> <B> ` + title + ` </B>`)
	return p
}

func (p *page) line(parts ...string) {
	for _, part := range parts {
		p.b.WriteString(part)
	}
	p.b.WriteString("\r\n")
}

func (p *page) linef(format string, args ...any) { p.line(fmt.Sprintf(format, args...)) }

func (p *page) end() []byte {
	p.line(`</Body>`)
	p.line(`</HTML>`)
	return []byte(p.b.String())
}

// issuedPage links to the certificate: in a script for browsers, by plain links with &amp; for others. The text layout
// has a link to the CA certificate too, which a client must not take for the result.
func (s *Server) issuedPage(l Lang, id int, agent layout) []byte {
	w := l.words()
	p := s.newPage(l, w.issued)
	p.line(`<P ID=locInfo> `, w.issuedText, `</P>`)
	if agent == layoutText {
		for _, file := range []string{"certnew.cer", "certnew.p7b"} {
			p.linef(`<A Href="%s?ReqID=%d&amp;Enc=bin">DER</A> <A Href="%s?ReqID=%d&amp;Enc=b64">B64</A>`, file, id, file, id)
		}
		p.linef(`<A Href="certnew.cer?ReqID=CACert&amp;Renewal=%d&amp;Mode=inst&amp;Enc=b64">CA</A>`, s.renewals())
		return p.end()
	}
	if agent == layoutIE {
		p.line(`<Script Language="VBScript">`)
		p.line("\t' Internet Explorer")
		p.line(`</Script>`)
	}
	p.line(`<Script>`)
	p.line(`function getEncoding() {`)
	p.line("\t", `return "Enc=b64";`)
	p.line(`}`)
	p.line(`function handleGetCert() {`)
	p.linef("\t"+`location="certnew.cer?ReqID=%d&"+getEncoding();`, id)
	p.line(`}`)
	p.line(`function handleGetChain() {`)
	p.linef("\t"+`location="certnew.p7b?ReqID=%d&"+getEncoding();`, id)
	p.line(`}`)
	p.line(`</Script>`)
	return p.end()
}

func (s *Server) pendingPage(l Lang, id int) []byte {
	w := l.words()
	p := s.newPage(l, w.pending)
	p.line(`<P ID=locInfo> `, w.pendingText, `</P>`)
	p.line(`<P ID=locInfoReqID>`)
	p.linef(w.requestID, id)
	p.line(`</P>`)
	return p.end()
}

func (s *Server) deniedPage(l Lang, id int, message string) []byte {
	w := l.words()
	p := s.newPage(l, w.denied)
	p.line(`<P ID=locDenied> `, w.deniedText, ` </P>`)
	p.line(`<P>`)
	p.line(fmt.Sprintf(w.requestID, id), " ", fmt.Sprintf(w.disposition, html.EscapeString(message)))
	p.line(`</P>`)
	return p.end()
}

// status is what the error page of certfnsh.asp and the status page of certnew.cer show.
type status struct {
	mode        string // of certfnsh.asp; empty elsewhere
	disposition Disposition
	message     string // empty: "(none)"
	result      uint32
	comInfo     string
	last        uint32
}

// statusPage keeps to the layout that public clients cut with regular expressions: label, then no tab until two tabs, the
// text, CRLF.
func (s *Server) statusPage(l Lang, st status) []byte {
	w := l.words()
	p := s.newPage(l, w.failed)
	p.line(`<P ID=locContactAdmin>`, w.contact, `</P>`)
	p.line(`<DL>`)
	row := func(id, label, text string) {
		p.linef(`<DT ID=%s><B>%s</B></DT><DD>`, id, label)
		p.line("\t\t", text)
		p.line("\t</DD>")
	}
	if st.mode != "" {
		row("locReqModeLabel", w.labelMode, st.mode)
	}
	row("locDispLabel", w.labelDisp, fmt.Sprintf(`%x <LocID ID=locDispSpacer>-</LocID> <LocID ID=locDispUnknown>%s</LocID>`, int(st.disposition), w.unknown))
	message := html.EscapeString(st.message)
	if message == "" {
		message = w.none
	}
	row("locDispMsgLabel", w.labelMessage, message)
	row("locResultLabel", w.labelResult, statusText(l, st.result))
	row("locComInfoLabel", w.labelCOM, html.EscapeString(st.comInfo))
	row("locLastStatLabel", w.labelLast, statusText(l, st.last))
	row("locSugCauseLabel", w.labelCause, w.cause)
	p.line(`</DL>`)
	return p.end()
}

func (s *Server) welcomePage() []byte {
	p := s.newPage(s.lang(), s.lang().words().welcome)
	for _, link := range []string{"certrqus.asp", "certckpn.asp", "certcarc.asp"} {
		p.linef(`<A Href="%s">%s</A>`, link, link)
	}
	return p.end()
}

// menuPage is a page that only browsers use: it leads on.
func (s *Server) menuPage(links ...string) []byte {
	p := s.newPage(s.lang(), s.lang().words().submit)
	for _, link := range links {
		p.linef(`<A Href="%s">%s</A>`, link, link)
	}
	return p.end()
}

// requestPage is certrqxt.asp (and certrqma.asp): the form, and on an enterprise CA the templates that user may enroll.
func (s *Server) requestPage(user string) []byte {
	p := s.newPage(s.lang(), s.lang().words().submit)
	p.line(`<Form Action="certfnsh.asp" Method=Post>`)
	for _, hidden := range [][2]string{{"Mode", "newreq"}, {"FriendlyType", ""}, {"ThumbPrint", ""}, {"TargetStoreFlags", "0"}, {"SaveCert", "yes"}} {
		p.linef(`<Input Type=Hidden Name=%s Value="%s">`, hidden[0], hidden[1])
	}
	p.line(`<TextArea ID=locTaRequest Name=CertRequest Rows=10 Cols=64></TextArea>`)
	if !s.standalone() {
		p.line(`<Select Name=lbCertTemplate ID=lbCertTemplateID>`)
		for i := range s.cfg.Templates {
			if t := &s.cfg.Templates[i]; !t.MachineType && s.mayEnroll(t, user) {
				p.linef(`<Option Value="%s">%s`, s.optionValue(i), html.EscapeString(t.display()))
			}
		}
		p.line(`</Select>`)
	}
	p.line(`<TextArea ID=taAttrib Name=CertAttrib Rows=4 Cols=64></TextArea>`)
	p.line(`<Input ID=btnSubmit Type=Submit>`)
	p.line(`</Form>`)
	return p.end()
}

// optionValue is the semicolon-separated description of template number i: letter, name, key spec, key, enrollment,
// private key and subject flags, RA signatures, providers, OID, major and minor version, friendly name.
func (s *Server) optionValue(i int) string {
	t := &s.cfg.Templates[i]
	letter, subjectFlags := "O", "1"
	if t.BuildFromAD {
		letter, subjectFlags = "E", "0"
	}
	return strings.Join([]string{
		letter, t.Name, "1", "1", "0", "16", subjectFlags, strconv.Itoa(t.RASignatures), "", s.templateOID(i), "100", "1", "4", html.EscapeString(t.display()),
	}, ";")
}

func (t *Template) display() string {
	if t.DisplayName != "" {
		return t.DisplayName
	}
	return t.Name
}

// caPage is certcarc.asp. Its list counts backwards: 0 is the CA certificate in use.
func (s *Server) caPage() []byte {
	p := s.newPage(s.lang(), s.lang().words().caCerts)
	p.line(`<Select Name=lbCaInstance ID=lbCaID>`)
	newest := s.renewals()
	for i := 0; i <= newest; i++ {
		selected := ""
		if i == 0 {
			selected = " Selected"
		}
		p.linef(`<Option Value="%d"%s>%d`, i, selected, newest-i)
	}
	p.line(`</Select>`)
	p.line(`<Script>`)
	p.linef("\tvar nRenewals=%d;", newest)
	p.line(`</Script>`)
	return p.end()
}

// iisBody is the body of an answer that IIS gives by itself.
func iisBody(title string) []byte {
	return []byte("<html><head><title>" + title + "</title></head><body><h2>" + title + "</h2></body></html>\r\n")
}

// errorBody returns IIS's body for a status.
func errorBody(code int) []byte {
	switch code {
	case http.StatusUnauthorized:
		return iisBody("401 - Unauthorized: Access is denied due to invalid credentials.")
	case http.StatusNotFound:
		return iisBody("404 - Not Found")
	}
	return iisBody(strconv.Itoa(code) + " - " + http.StatusText(code))
}

// movedBody is IIS's redirect, which has LF line ends and none at the end.
func movedBody(url string) []byte {
	return []byte("<head><title>Document Moved</title></head>\n<body><h1>Object Moved</h1>This document may be found <a HREF=\"" +
		html.EscapeString(url) + "\">here</a></body>")
}

// pemCRLF armours DER as Windows does: lines of 64 characters that end with CRLF. The header says CERTIFICATE for PKCS #7
// too, as on a real server.
func pemCRLF(kind string, der []byte) []byte {
	lf := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return []byte(strings.ReplaceAll(string(lf), "\n", "\r\n"))
}
