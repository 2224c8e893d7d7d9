package certsrv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/net/html"
)

// Outcome is what became of a request.
type Outcome int

// The outcomes. Issued, Denied and Failed are final for this request id.
const (
	Issued  Outcome = iota + 1 // there is a certificate
	Pending                    // a certificate manager has to decide; fetch again later
	Denied                     // the CA or a manager refused
	Failed                     // the CA or the web server reported an error
)

// String returns "issued", "pending", "denied" or "error".
func (o Outcome) String() string {
	switch o {
	case Issued:
		return "issued"
	case Pending:
		return "pending"
	case Denied:
		return "denied"
	case Failed:
		return "error"
	}
	return fmt.Sprintf("Outcome(%d)", int(o))
}

// Disposition is the CA's own number for the state of a request, as status pages print it.
type Disposition int64

// The dispositions. NoDisposition stands for a page that shows none.
const (
	NoDisposition         Disposition = -1
	DispositionIncomplete Disposition = 0
	DispositionError      Disposition = 1
	DispositionDenied     Disposition = 2
	DispositionIssued     Disposition = 3
	DispositionOutOfBand  Disposition = 4 // issued
	DispositionPending    Disposition = 5
	DispositionRevoked    Disposition = 6
)

// page is what the identifiers of a web enrollment page enclose. The same identifiers are in the pages of every
// language; only the prose between them is translated.
type page struct {
	text        string                      // everything a reader sees
	sections    map[string]*strings.Builder // by lower-case id, the text that belongs to it
	link        string                      // request id of the first certnew.cer link, empty for none
	disposition Disposition
}

const (
	idPending    = "locinforeqid"
	idDenied     = "locdenied"
	idSpacer     = "locdispspacer"
	idMessage    = "locdispmsglabel"
	idDispLabel  = "locdisplabel"
	idResult     = "locresultlabel"
	idComInfo    = "loccominfolabel"
	idLastStatus = "loclaststatlabel"
	idCause      = "locsugcauselabel"
)

var (
	// The digits leave out the links to CA certificates (ReqID=CACert), which issued pages hold too.
	issuedLink  = regexp.MustCompile(`(?i)certnew\.cer\?ReqID=(\d{1,18})&`)
	trailingHex = regexp.MustCompile(`(?:^|[^0-9A-Za-z])(?:0[xX])?([0-9a-fA-F]{1,8})\s*$`)
	hexStatus   = regexp.MustCompile(`\b0[xX]([0-9a-fA-F]{8})\b`)
	// anyStatus also finds a code by its number in another facility: "0x5 (WIN32: 5 ERROR_ACCESS_DENIED)".
	anyStatus = regexp.MustCompile(`\b0[xX]([0-9a-fA-F]{8})\b|\(\s*(WIN32|ASN)\s*:\s*(\d{1,5})\b`)
	integer   = regexp.MustCompile(`\d+`)
	englishID = regexp.MustCompile(`(?i)Your Request Id is (\d{1,18})`)
	english   = []struct {
		text    string
		outcome Outcome
	}{
		{"certificate you requested was issued to you", Issued},
		{"Certificate Pending", Pending},
		{"must wait for an administrator to issue", Pending},
		{"Taken Under Submission", Pending},
		{"certificate request was denied", Denied},
		{"Certificate Request Denied", Denied},
		{"Denied by Policy Module", Denied},
	}
)

// parsePage walks a page once. It never fails: what is not there is not in the result.
func parsePage(body []byte) page {
	p := page{sections: make(map[string]*strings.Builder), disposition: NoDisposition}
	var all strings.Builder
	section, inLabel, inScript := "", false, false
	z := html.NewTokenizer(strings.NewReader(decodeText(body)))
	for {
		switch z.Next() {
		case html.ErrorToken: // the end, or as good as that
			p.text = all.String()
			return p
		case html.TextToken:
			t := string(z.Text())
			if inScript {
				p.addLink(t)
				continue
			}
			// Links in prose do not count: the CA quotes parts of the request there.
			all.WriteString(t)
			if section != "" && !inLabel {
				p.sections[section].WriteString(t)
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			name, id := p.attributes(z)
			inScript = name == "script"
			switch {
			case id == idSpacer && p.disposition == NoDisposition:
				p.disposition = trailingDisposition(all.String())
			case id == idPending || id == idDenied:
				section, inLabel = id, false
				p.open(section)
			case isStatusLabel(id):
				section, inLabel = id, true
				p.open(section)
			case name == "dd":
				inLabel = false
			case name == "dt", name == "p" && section == idPending:
				section = ""
			}
		case html.EndTagToken:
			inScript = false
			name, _ := z.TagName()
			if n := string(name); n == "dl" || (n == "dd" && isStatusLabel(section)) || (n == "p" && section == idPending) {
				section = ""
			}
		case html.CommentToken, html.DoctypeToken:
		}
	}
}

// attributes returns the tag's name and lower-case id, and takes the links from its attributes.
func (p *page) attributes(z *html.Tokenizer) (name, id string) {
	b, more := z.TagName()
	name = string(b)
	for more {
		var key, val []byte
		key, val, more = z.TagAttr()
		if string(key) == "id" {
			id = strings.ToLower(string(val))
		}
		p.addLink(string(val))
	}
	return name, id
}

// open notes that a section is there, which by itself is a sign.
func (p *page) open(section string) {
	if p.sections[section] == nil {
		p.sections[section] = new(strings.Builder)
	}
}

// section returns the text of a section and whether the page has it.
func (p *page) section(id string) (string, bool) {
	b, ok := p.sections[id]
	if !ok {
		return "", false
	}
	return b.String(), true
}

func (p *page) addLink(s string) {
	if p.link != "" {
		return
	}
	// The & of a link is there as itself or as &amp;, which the tokenizer has turned into & already.
	if m := issuedLink.FindStringSubmatch(s); m != nil {
		p.link = m[1]
	}
}

func isStatusLabel(id string) bool {
	switch id {
	case idDispLabel, idMessage, idResult, idComInfo, idLastStatus, idCause:
		return true
	}
	return false
}

func trailingDisposition(text string) Disposition {
	// The number stands directly before the spacer; a window is enough and keeps hostile pages cheap.
	if len(text) > 64 {
		text = text[len(text)-64:]
	}
	m := trailingHex.FindStringSubmatch(text)
	if m == nil {
		return NoDisposition
	}
	n, err := strconv.ParseUint(m[1], 16, 32)
	if err != nil {
		return NoDisposition
	}
	return Disposition(n)
}

// decodeText returns body as UTF-8. Pages declare UTF-8; the web server's own error pages are Latin-1, and what an
// administrator saved with a Windows editor may be UTF-16.
func decodeText(body []byte) string {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if order := utf16Order(body); order != nil {
		units := make([]uint16, len(body)/2)
		for i := range units {
			units[i] = order.Uint16(body[2*i:])
		}
		return strings.TrimPrefix(string(utf16.Decode(units)), "\ufeff")
	}
	if utf8.Valid(body) {
		return string(body)
	}
	var b strings.Builder
	for _, c := range body {
		b.WriteRune(rune(c))
	}
	return b.String()
}

// utf16Order returns the order of octets of a text in UTF-16: by its mark, or by how it begins, which of a page is in ASCII;
// nil for every other text.
func utf16Order(body []byte) binary.ByteOrder {
	if len(body) < 4 {
		return nil
	}
	switch {
	case body[0] == 0xff && body[1] == 0xfe, body[0] != 0 && body[1] == 0 && body[2] != 0 && body[3] == 0:
		return binary.LittleEndian
	case body[0] == 0xfe && body[1] == 0xff, body[0] == 0 && body[1] != 0 && body[2] == 0 && body[3] != 0:
		return binary.BigEndian
	}
	return nil
}

// classify reads the outcome out of a page of certfnsh.asp, certnew.cer or certnew.p7b; false when the page tells none.
// The order matters: an issued page may hold anything else, and English prose says "request id" on pending and denied
// pages alike.
func classify(body []byte) (Answer, bool) {
	p := parsePage(body)
	a := Answer{Disposition: p.disposition}
	pending, isPending := p.section(idPending)
	denied, isDenied := p.section(idDenied)
	switch {
	case p.link != "":
		a.Outcome, a.RequestID = Issued, p.link
		return a, true
	case isPending:
		a.Outcome, a.RequestID = Pending, requestNumber(pending)
		return a, true
	case isDenied:
		a.Outcome = Denied
		a.RequestID, a.Message = deniedWords(denied)
		a.HResult = lastStatus(denied)
		return a, true
	}
	return p.status(a)
}

// status reads a status page: disposition, message and LastStatus, or failing these English words.
func (p *page) status(a Answer) (Answer, bool) {
	message, _ := p.section(idMessage)
	last, _ := p.section(idLastStatus)
	result, _ := p.section(idResult)
	a.Message, a.StatusText, a.HResult = oneLine(message), oneLine(last), lastStatus(last)
	if a.HResult == 0 {
		a.HResult = lastStatus(result)
		if a.StatusText == "" || a.HResult != 0 {
			a.StatusText = oneLine(result)
		}
	}
	switch a.Disposition {
	case DispositionIssued, DispositionOutOfBand:
		a.Outcome = Issued
	case DispositionPending:
		a.Outcome = Pending
	case DispositionDenied:
		a.Outcome = Denied
	case DispositionIncomplete, DispositionError, DispositionRevoked:
		a.Outcome = Failed
	case NoDisposition:
		return p.guess(a)
	default: // some servers print a status code in its place
		a.Outcome = Failed
		if a.HResult == 0 && a.Disposition >= 0x80000000 {
			a.HResult = HResult(a.Disposition)
		}
	}
	if a.Outcome == Pending {
		a.HResult = 0
	}
	return a, true
}

// guess is for pages without identifiers.
func (p *page) guess(a Answer) (Answer, bool) {
	for _, e := range english {
		if strings.Contains(p.text, e.text) {
			a.Outcome = e.outcome
			if m := englishID.FindStringSubmatch(p.text); m != nil {
				a.RequestID = m[1]
			}
			if a.Outcome == Denied && a.HResult == 0 {
				a.HResult = lastStatus(p.text)
			}
			return a, true
		}
	}
	_, message := p.sections[idMessage]
	_, last := p.sections[idLastStatus]
	if a.HResult == 0 {
		a.HResult = lastStatus(p.text)
	}
	if message || last || a.HResult != 0 {
		a.Outcome = Failed
		if a.StatusText == "" {
			a.StatusText = oneLine(p.text)
		}
		return a, true
	}
	return a, false
}

// requestNumber returns the first integer of s.
func requestNumber(s string) string {
	n := integer.FindString(s)
	if len(n) > 18 {
		return ""
	}
	return n
}

// deniedWords takes the request id and the CA's message out of a denied page. The id has no element of its own there:
// it is the first number in the sentence before the quoted message, in every language.
func deniedWords(s string) (id, message string) {
	before, quoted, ok := strings.Cut(s, `"`)
	if ok {
		if i := strings.LastIndexByte(quoted, '"'); i >= 0 {
			quoted = quoted[:i]
		}
		message = oneLine(quoted)
	} else {
		message = oneLine(s)
	}
	return requestNumber(hexStatus.ReplaceAllString(before, " ")), message
}

// lastStatus returns the last failing status code in s: the earlier ones are the road to it.
func lastStatus(s string) HResult {
	var h HResult
	for _, m := range anyStatus.FindAllStringSubmatch(s, -1) {
		switch n, err := strconv.ParseUint(m[3], 10, 16); {
		case m[1] != "":
			if n, err := strconv.ParseUint(m[1], 16, 32); err == nil && n&0x80000000 != 0 {
				h = HResult(n)
			}
		case err != nil || n == 0: // (WIN32: 0) is success
		case m[2] == "WIN32":
			h = facilityWin32 + HResult(n)
		case facilityASN+HResult(n) <= asnLast:
			h = facilityASN + HResult(n)
		}
	}
	return h
}
