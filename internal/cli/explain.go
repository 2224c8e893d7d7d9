package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"callsign/internal/explain"
)

// langFlag is the value of --lang. As a value of its own it makes a wrong language a usage error of every command.
type langFlag explain.Lang

// String implements the interface of flag values.
func (l *langFlag) String() string { return string(*l) }

// Type implements the interface of flag values; help shows the word.
func (*langFlag) Type() string { return "language" }

// Set implements the interface of flag values.
func (l *langFlag) Set(name string) error {
	lang, ok := explain.ParseLang(name)
	if !ok {
		return fmt.Errorf("use %s%s", explain.Alternatives(langNames()), didYouMean(nearest(name, langNames())))
	}
	*l = langFlag(lang)
	return nil
}

func langNames() []string {
	names := make([]string, 0, len(explain.Langs()))
	for _, l := range explain.Langs() {
		names = append(names, string(l))
	}
	return names
}

// language is that of --lang, else of CALLSIGN_LANG, else of the locale.
func (e *env) language() (explain.Lang, error) {
	if e.lang != "" {
		return explain.Lang(e.lang), nil
	}
	if name := os.Getenv("CALLSIGN_LANG"); name != "" {
		lang, ok := explain.ParseLang(name)
		if !ok {
			return "", usage(fmt.Errorf("CALLSIGN_LANG %q: use %s", name, explain.Alternatives(langNames())))
		}
		return lang, nil
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if locale := os.Getenv(name); locale != "" {
			return explain.LocaleLang(locale), nil
		}
	}
	return explain.English, nil
}

// explainItem is an entry of the catalogue in JSON. Codes and keys are never translated; the texts follow --lang.
type explainItem struct {
	Query        string            `json:"query,omitempty"` // absent in a list
	Code         string            `json:"code"`
	Family       explain.Family    `json:"family"`
	Title        string            `json:"title"`
	Meaning      string            `json:"meaning"`
	Depth        *int              `json:"depth,omitempty"` // as the query says it
	DepthMeaning string            `json:"depth_meaning,omitempty"`
	Causes       []string          `json:"causes"`
	Evidence     []string          `json:"evidence"`
	Remedy       []string          `json:"remedy"`
	OpenSSL      []int             `json:"openssl"`
	Curl         []int             `json:"curl"`
	Wording      []explain.Wording `json:"wording"`
	Also         []string          `json:"see_also"`
}

func newExplainItem(query string, m explain.Match, lang explain.Lang) explainItem {
	t := m.Entry.Texts[lang]
	i := explainItem{
		Query: query, Code: m.Entry.Code, Family: m.Entry.Family, Title: t.Title, Meaning: t.Meaning,
		DepthMeaning: m.Entry.DepthText(m.Depth, lang), Causes: t.Causes, Evidence: t.Evidence, Remedy: t.Remedy,
		OpenSSL: []int{}, Curl: append([]int{}, m.Entry.Curl...), Wording: append([]explain.Wording{}, m.Entry.Wording...),
		Also: append([]string{}, m.Entry.Also...),
	}
	if m.Depth >= 0 {
		i.Depth = &m.Depth
	}
	for _, v := range m.Entry.OpenSSL {
		i.OpenSSL = append(i.OpenSSL, v.Number)
	}
	return i
}

// longestQuery is how much of a query is shown again, in bytes.
const longestQuery = 200

// unknownQuery is a query of which the catalogue knows nothing.
type unknownQuery struct {
	query string
	near  []string
}

func (u *unknownQuery) Error() string {
	shown := oneLine(u.query)
	if len(shown) > longestQuery {
		shown = strings.ToValidUTF8(shown[:longestQuery], "") + "..."
	}
	return fmt.Sprintf("nothing is known of %q%s", shown, didYouMean(u.near))
}

// Code returns none: an explanation of it would explain nothing.
func (*unknownQuery) Code() string { return "" }

// Remedy returns what to do.
func (*unknownQuery) Remedy() string {
	return "give a code, or the line of the log that has the error, whole; all codes: callsign explain --list"
}

var signedCode = regexp.MustCompile(`^-\d{7,}$`)

// signedCodes moves the negative numbers in the arguments of explain, which certutil prints, to where they are no flags.
func signedCodes(args []string) []string {
	if !slices.Contains(args, "explain") || slices.Contains(args, "--") || !slices.ContainsFunc(args, signedCode.MatchString) {
		return args
	}
	var rest, codes []string
	for _, a := range args {
		if signedCode.MatchString(a) {
			codes = append(codes, a)
		} else {
			rest = append(rest, a)
		}
	}
	return append(append(rest, "--"), codes...)
}

func (e *env) explainCommand() *cobra.Command {
	var list bool
	cmd := &cobra.Command{
		Use: `explain CODE|"message text"...`, Short: "Explain an error code, or a message out of a log",
		Long: `Explain what an error means, what causes it, what to look at and what to do. It knows the codes of Callsign's own errors,
the faults of certificate chains, the checks of certificate uploads (CSR_SAN_MISMATCH), OpenSSL's verification errors (20,
X509_V_ERR_CERT_HAS_EXPIRED), curl's exit codes (curl:60), and the status codes of AD CS and Windows as hexadecimal, signed
or unsigned number (0x80094800, -2146875392, 2148091904) or name (CERTSRV_E_UNSUPPORTED_CERT_TYPE). It finds them in
messages of Unified CM, curl, OpenSSL, nginx, Traffic Server, Go and Java, on pages of AD CS, and at the end of rows in the
log of IIS ("401 1 2148074252"). A number that several of them use is explained for each. - reads a message from stdin.`,
		Example: `  callsign explain est.csr-key-too-short
  callsign explain unknown_issuer openssl:20 curl:60
  callsign explain "SSL certificate problem: unable to get local issuer certificate"
  callsign explain "CA certificate is not available in the trust-store"
  callsign explain --lang ko expired
  callsign explain 0x80094800 "401 1 2148074252"
  tail -n 20 error.log | callsign explain -`,
		RunE: func(_ *cobra.Command, args []string) error {
			lang, err := e.language()
			switch {
			case err != nil:
				return err
			case list && len(args) > 0:
				return usage(fmt.Errorf("--list lists all codes; leave %q out", oneLine(args[0])))
			case list:
				return e.listExplanations(lang)
			case len(args) == 0:
				return usage(errors.New("name at least one code or message, - for stdin, or use --list"))
			}
			return e.explain(args, lang)
		},
		ValidArgsFunction: e.completeCodes,
	}
	cmd.Flags().BoolVar(&list, "list", false, "list all codes with their titles")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

func (e *env) explain(args []string, lang explain.Lang) error {
	page := explain.Page{Lang: lang, Width: textWidth(e.out)}
	items, unknown := []explainItem{}, []error(nil)
	for _, query := range args {
		if query == "-" {
			var err error
			if query, err = e.readMessage(); err != nil {
				return err
			}
		}
		matches := explain.Lookup(query)
		if len(matches) == 0 {
			unknown = append(unknown, &unknownQuery{query, explain.Nearest(query, 3)})
			continue
		}
		if !e.json {
			if err := e.explainText(page, matches, len(items) > 0); err != nil {
				return err
			}
		}
		for _, m := range matches {
			items = append(items, newExplainItem(query, m, lang))
		}
	}
	if e.json {
		if err := e.printExplanations(items); err != nil {
			return err
		}
	}
	err := errors.Join(unknown...)
	if err != nil && len(unknown) < len(args) {
		return &exitError{code: exitPartial, err: err}
	}
	return err
}

// explainText writes every meaning of a code, but of a text the one that says most, and names the others.
func (e *env) explainText(page explain.Page, matches []explain.Match, more bool) error {
	whole := matches
	if !matches[0].Exact {
		whole = matches[:1]
	}
	for _, m := range whole {
		if more {
			fmt.Fprintln(e.out)
		}
		more = true
		if err := page.Write(e.out, m); err != nil {
			return err
		}
	}
	return page.Others(e.out, matches[len(whole):])
}

func (e *env) printExplanations(items []explainItem) error {
	return e.printJSON(struct {
		Items []explainItem `json:"items"`
		Total int           `json:"total"`
	}{items, len(items)})
}

func (e *env) listExplanations(lang explain.Lang) error {
	entries := explain.Entries()
	if e.json {
		items := make([]explainItem, len(entries))
		for i := range entries {
			items[i] = newExplainItem("", explain.Match{Entry: entries[i], Depth: -1}, lang)
		}
		return e.printExplanations(items)
	}
	rows := make([][]string, len(entries))
	for i := range entries {
		rows[i] = []string{entries[i].Code, entries[i].Texts[lang].Title}
	}
	return table(e.out, []string{"CODE", "TITLE"}, rows)
}

// readMessage reads a message from stdin.
func (e *env) readMessage() (string, error) {
	b, err := io.ReadAll(io.LimitReader(e.in, explain.MaxQuery+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read stdin: %w", err)
	case len(b) > explain.MaxQuery:
		return "", fmt.Errorf("stdin holds more than %d KiB: give the lines around the failure, for example with tail -n 50", explain.MaxQuery>>10)
	}
	return string(b), nil
}

func (e *env) completeCodes(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
	lang, err := e.language()
	if err != nil {
		lang = explain.English
	}
	var words []cobra.Completion
	for _, entry := range explain.Entries() {
		if strings.HasPrefix(entry.Code, prefix) {
			words = append(words, cobra.CompletionWithDesc(entry.Code, entry.Texts[lang].Title))
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
