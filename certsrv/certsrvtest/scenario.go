package certsrvtest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scenario is all that a list of words says: what the server does with requests, and what it is like.
type Scenario struct {
	// Behaviour is that of every template without one of its own. Its Lang must be empty: the language of a scenario is
	// that of all pages, Conditions.Lang.
	Behaviour  Behaviour
	Conditions Conditions
}

// String returns the form that [ParseScenario] reads; "issue" for the zero value.
func (s Scenario) String() string {
	words := append(s.Behaviour.words(), s.Conditions.words()...)
	if len(words) == 0 {
		return answerWords[Issue]
	}
	return strings.Join(words, ",")
}

// Apply makes c a server of this scenario.
func (s Scenario) Apply(c *Config) { c.Behaviour, c.Conditions = s.Behaviour, s.Conditions }

func (s Scenario) check() error {
	if s.Behaviour.Lang != "" {
		return errors.New("a scenario has one language, that of Conditions")
	}
	if err := s.Behaviour.check(); err != nil {
		return err
	}
	return s.Conditions.check()
}

// ParseScenario reads comma-separated words, in any order, each at most once, and at most one of those that exclude each
// other: see [Words] and the package's table. White space around words does not matter; the empty string is the zero
// Scenario. Errors are *[WordError].
func ParseScenario(s string) (Scenario, error) { return parseWords(s, false) }

// Word is a word of a scenario.
type Word struct {
	Name string // as it is typed, without value
	// Value stands for what follows Name and "="; empty for words without value, in square brackets where it may be missing.
	Value string
	// Server tells that the word concerns the whole server ([Conditions]); otherwise it concerns requests ([Behaviour]).
	Server bool
	Means  string // in English, a sentence without full stop
}

// Words returns every word of [ParseScenario]. Words and their meanings are stable.
func Words() []Word {
	all := make([]Word, len(vocabulary))
	for i, w := range vocabulary {
		all[i] = w.Word
	}
	return all
}

// WordError is a word of a scenario that cannot be read. It is not safe to change.
type WordError struct {
	Word    string // as it was typed
	Reason  string // what is wrong with it
	Nearest string // an unknown word's likely meaning; may be empty
}

// Error implements error. For an unknown word it lists what there is.
func (e *WordError) Error() string {
	text := fmt.Sprintf("behaviour %q: %s", e.Word, e.Reason)
	if e.Nearest != "" {
		text += fmt.Sprintf("; do you mean %q?", e.Nearest)
	}
	return text
}

// Remedy says what to type.
func (e *WordError) Remedy() string {
	if e.Nearest != "" {
		return "write " + e.Nearest
	}
	return "correct the word or leave it out; there are " + wordList(false)
}

type entryWord struct {
	Word
	set func(s *Scenario, value string) error
}

// vocabulary is in the order of the package's table.
var vocabulary = slices.Concat(
	[]entryWord{
		answerWord(Issue, "issue at once, also on a standalone CA"),
		answerWord(Pending, "keep the request until it is approved or denied"),
		{Word{"deny", "[0xHRESULT]", false, "deny with this status; without one as a CA manager denies (0x80094014)"}, setDeny},
		answerWord(RPCDown, "the web server cannot reach its CA (0x800706BA)"),
		answerWord(ASPError, "certfnsh.asp fails with HTTP 500"),
		answerWord(Hang, "no answer until the client goes away, and nothing is recorded"),
		answerWord(Drop, "issue, then end the connection in place of the answer"),
		answerWord(Truncate, "issue, then end the connection in the middle of the answer"),
		answerWord(Reset, "issue, then reset the connection in the middle of the answer"),
		answerWord(OtherKey, "issue a certificate for a key that is not that of the request"),
		{Word{"slow", "DURATION", false, "wait before the request is looked at"}, duration(func(s *Scenario) *time.Duration { return &s.Behaviour.Delay })},
		{Word{"approve", "DURATION", false, "approve pending requests when somebody looks at them that much later"}, duration(func(s *Scenario) *time.Duration { return &s.Behaviour.ApproveAfter })},
		{Word{"times", "N", false, "treat only the first N requests so, the others as usual"}, setTimes},
		{Word{"lang", "en|fr", true, "language of the pages; for a template: of the answers"}, text(func(s *Scenario) *Lang { return &s.Conditions.Lang })},
		{Word{"auth", "SCHEME[+SCHEME...]", true, "ways to log in: negotiate, kerberos (Negotiate without NTLM), ntlm, basic"}, text(func(s *Scenario) *Schemes { return &s.Conditions.Auth })},
		{Word{"epa", "off|accept|require", true, "Extended Protection: channel bindings are ignored, checked where sent, required"}, text(func(s *Scenario) *EPA { return &s.Conditions.EPA })},
		{Word{"standalone", "", true, "a standalone CA: no templates, requests are pending"}, flag(func(s *Scenario) *bool { return &s.Conditions.Standalone })},
		{Word{"slow-login", "DURATION", true, "wait before credentials are judged"}, duration(func(s *Scenario) *time.Duration { return &s.Conditions.SlowLogin })},
		{Word{"slow-pages", "DURATION", true, "wait before each page after the login"}, duration(func(s *Scenario) *time.Duration { return &s.Conditions.SlowPages })},
		{Word{"reauth", "", true, "each request must log in, connections remember nobody"}, flag(func(s *Scenario) *bool { return &s.Conditions.Reauth })},
		{Word{"split", "", true, "a load balancer sends the legs of a login to different servers (401.1, 2148074248)"}, flag(func(s *Scenario) *bool { return &s.Conditions.Split })},
		refusalWord(RefuseLogin, "every login is refused, for ever"),
		refusalWord(RefuseACL, "the login succeeds and the file system denies the account"),
		refusalWord(RefuseNoTLS, "SSL is required and IIS sees none"),
		refusalWord(RefuseNoClientCert, "a client certificate is required"),
		refusalWord(RefusePoolDown, "the application pool is stopped"),
		refusalWord(RefuseSignIn, "a proxy in between answers its sign-in page with HTTP 200"),
		{Word{"redirect", "URL|PATH", true, "every page redirects there after the login"}, text(func(s *Scenario) *string { return &s.Conditions.Redirect })},
		{Word{"close", "", true, "the connection ends after each answer but 401, unannounced"}, flag(func(s *Scenario) *bool { return &s.Conditions.CloseConnections })},
		{Word{"no-keep-alive", "", true, "the connection ends after each answer, announced: NTLM is impossible"}, flag(func(s *Scenario) *bool { return &s.Conditions.NoKeepAlive })},
		{Word{"content-type", "TYPE", true, "certificates, chains and CRLs come with this media type"}, text(func(s *Scenario) *string { return &s.Conditions.ContentType })},
	},
	faultWords("login", "GET /certsrv fails so after the login", func(c *Conditions) *PageFault { return &c.Login }),
	faultWords("certrqxt", "the template list fails so", func(c *Conditions) *PageFault { return &c.TemplateList }),
	faultWords("certcarc", "the list of CA certificates fails so; 404: a server without certcarc.asp", func(c *Conditions) *PageFault { return &c.CACertificates }),
	faultWords("certnew", "certificates and chains fail so", func(c *Conditions) *PageFault { return &c.Certificate }),
	faultWords("certcrl", "CRLs fail so", func(c *Conditions) *PageFault { return &c.CRL }),
)

func answerWord(a Answer, means string) entryWord {
	return entryWord{Word{answerWords[a], "", false, means}, func(s *Scenario, _ string) error { return s.setAnswer(a) }}
}

func (s *Scenario) setAnswer(a Answer) error {
	if was := s.Behaviour.Answer; was != Default {
		return fmt.Errorf("more than one answer (%s and %s)", answerWords[was], answerWords[a])
	}
	s.Behaviour.Answer = a
	return nil
}

func setDeny(s *Scenario, value string) error {
	if value != "" {
		h, err := strconv.ParseUint(value, 0, 32)
		if err != nil || h&0x8000_0000 == 0 {
			return fmt.Errorf("%q is no HRESULT of an error (0x8.......)", value)
		}
		s.Behaviour.HResult = uint32(h)
	}
	return s.setAnswer(Deny)
}

func setTimes(s *Scenario, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no count of 1 or more", value)
	}
	s.Behaviour.Times = n
	return nil
}

func refusalWord(r Refusal, means string) entryWord {
	return entryWord{Word{string(r), "", true, means}, func(s *Scenario, _ string) error {
		if was := s.Conditions.Refusal; was != "" {
			return fmt.Errorf("more than one answer to everything (%s and %s)", was, r)
		}
		s.Conditions.Refusal = r
		return nil
	}}
}

func faultWords(name, means string, field func(*Conditions) *PageFault) []entryWord {
	return []entryWord{{Word{name, strings.ReplaceAll(list(pageFaults), ", ", "|"), true, means}, text(func(s *Scenario) *PageFault { return field(&s.Conditions) })}}
}

func flag(field func(*Scenario) *bool) func(*Scenario, string) error {
	return func(s *Scenario, _ string) error { *field(s) = true; return nil }
}

func text[T ~string](field func(*Scenario) *T) func(*Scenario, string) error {
	return func(s *Scenario, value string) error { *field(s) = T(value); return nil }
}

func duration(field func(*Scenario) *time.Duration) func(*Scenario, string) error {
	return func(s *Scenario, value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return fmt.Errorf("%q is no duration above 0, such as 2s or 500ms", value)
		}
		*field(s) = d
		return nil
	}
}

// parseWords reads a list; with requests only the words that a Behaviour can hold, lang among them.
func parseWords(s string, requests bool) (Scenario, error) {
	var sc Scenario
	if strings.TrimSpace(s) == "" {
		return sc, nil
	}
	var seen []string
	for typed := range strings.SplitSeq(s, ",") {
		typed = strings.TrimSpace(typed)
		if err := sc.word(typed, requests, seen); err != nil {
			return Scenario{}, err
		}
		name, _, _ := strings.Cut(typed, "=")
		seen = append(seen, name)
	}
	return sc, nil
}

// word applies one word.
func (s *Scenario) word(typed string, requests bool, seen []string) error {
	name, value, valued := strings.Cut(typed, "=")
	i := slices.IndexFunc(vocabulary, func(w entryWord) bool { return w.Name == name })
	if i < 0 {
		return &WordError{Word: typed, Reason: "unknown word; there are " + wordList(requests), Nearest: nearestWord(name, requests)}
	}
	w := vocabulary[i]
	fail := func(format string, args ...any) error {
		return &WordError{Word: typed, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case requests && !w.ofRequests():
		return fail("it concerns the whole server, not the requests of a template")
	case slices.Contains(seen, name):
		return fail("%s is there twice", name)
	case valued && w.Value == "":
		return fail("%s takes no value", name)
	case value == "" && w.Value != "" && (valued || w.Value[0] != '['):
		return fail("%s needs a value: %s=%s", name, name, strings.Trim(w.Value, "[]"))
	}
	if err := w.set(s, value); err != nil {
		return fail("%v", err)
	}
	if err := s.check(); err != nil {
		return fail("%v", err)
	}
	return nil
}

// ofRequests tells whether a Behaviour can hold the word.
func (w *Word) ofRequests() bool { return !w.Server || w.Name == "lang" }

func wordList(requests bool) string {
	var names []string
	for _, w := range vocabulary {
		if requests && !w.ofRequests() {
			continue
		}
		name := w.Name
		if w.Value != "" && w.Value[0] == '[' {
			name += "[=]"
		} else if w.Value != "" {
			name += "="
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// nearestWord returns the word that fewest changes make of name, if few enough do.
func nearestWord(name string, requests bool) string {
	const longest = 32 // no word is as long
	if len(name) > longest {
		return ""
	}
	best, least := "", 1+max(1, len(name)/3)
	for _, w := range vocabulary {
		if requests && !w.ofRequests() {
			continue
		}
		if d := editDistance(strings.ToLower(name), w.Name); d < least {
			best, least = w.Name, d
		}
	}
	return best
}

// editDistance counts the octets that were left out, added, changed, or typed in the wrong order.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			changed := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				changed++
			}
			rows[i][j] = min(changed, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
