package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"callsign/internal/config"
)

// command finds what a text tells its reader to run: the words and flags after our name.
var command = regexp.MustCompile("callsign((?: +(?:[A-Za-z0-9_./:@{}%'-]+|<[^>]*>))+)")

func testRoot() *cobra.Command {
	e := &env{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	return e.root()
}

// wrong says what is wrong with a command line that a text mentions: words or flags that do not exist.
func wrong(words []string) string {
	root := testRoot()
	first := words[0]
	if strings.HasPrefix(first, "-") || first == "COMMAND" || first == "NOUN" {
		return ""
	}
	cmd, rest, err := root.Find(words)
	switch {
	case err != nil:
		return err.Error()
	case cmd == root:
		return "no command " + strconv.Quote(first)
	case cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && rest[0] != "COMMAND":
		return cmd.CommandPath() + " has no command " + strconv.Quote(rest[0])
	}
	known := append(flagNames(cmd), "help")
	for _, w := range rest {
		if name, ok := strings.CutPrefix(w, "--"); ok && name != "" && !slices.Contains(known, strings.TrimRight(name, ".,:")) {
			return cmd.CommandPath() + " has no flag " + w
		}
	}
	return ""
}

// mentions returns the command lines in a text. Prose that begins with our name ("callsign gives IP phones") is told
// from them by what the caller looks at.
func mentions(text string) [][]string {
	var all [][]string
	for _, m := range command.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.Fields(m[1]))
	}
	return all
}

// TestHelpIsTrue: no help page names a command or flag that does not exist, and every command's page has an example.
func TestHelpIsTrue(t *testing.T) {
	t.Parallel()
	var walk func(*cobra.Command)
	pages := 0
	walk = func(c *cobra.Command) {
		pages++
		for _, text := range []string{c.Example, c.Long} {
			if cobraMade(c) {
				continue
			}
			for _, words := range mentions(text) {
				if w := wrong(words); w != "" {
					t.Errorf("help of %s: callsign %s: %s", c.CommandPath(), strings.Join(words, " "), w)
				}
			}
		}
		if c.Runnable() && !c.HasSubCommands() && !cobraMade(c) {
			if c.Example == "" {
				t.Errorf("%s has no example", c.CommandPath())
			}
			if c.Name() != "help" && c.Annotations[exitAnnotation] == "" {
				t.Errorf("%s does not tell its exit codes", c.CommandPath())
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(testRoot())
	if pages < 15 {
		t.Errorf("only %d pages were looked at", pages)
	}
}

// cobraMade tells the pages whose text is cobra's own: those of the shells.
func cobraMade(c *cobra.Command) bool { return c.HasParent() && c.Parent().Name() == "completion" }

// eachLiteral calls do with every string literal of the sources that are not tests, and where it stands.
func eachLiteral(t *testing.T, do func(at token.Position, text string)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return fs.SkipDir
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "tools") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil {
					do(set.Position(lit.Pos()), text)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestMessagesAreTrue: no text in the sources tells its reader to run a command or flag that does not exist.
func TestMessagesAreTrue(t *testing.T) {
	t.Parallel()
	found := 0
	eachLiteral(t, func(at token.Position, text string) {
		// With a capital it is our name in prose, without one the command.
		for _, i := range instruction.FindAllString(text, -1) {
			found++
			for _, words := range mentions(i) {
				if w := wrong(words); w != "" {
					t.Errorf("%s: %q: %s", at, i, w)
				}
			}
		}
	})
	if found < 15 {
		t.Errorf("only %d messages with commands were found; are they written in another way now?", found)
	}
}

// TestKeysInMessagesAreTrue: no text in the sources names a key of the configuration that does not exist.
func TestKeysInMessagesAreTrue(t *testing.T) {
	t.Parallel()
	keys, found := configKeys(), 0
	eachLiteral(t, func(at token.Position, text string) {
		if machineWord.MatchString(text) && !strings.Contains(filepath.ToSlash(at.Filename), "/internal/config/") {
			return // the name of an event or a code of an error, which have the same form
		}
		for _, key := range namedKeys(text) {
			found++
			if !slices.Contains(keys, key) {
				t.Errorf("%s: there is no key %s: %q", at, key, text)
			}
		}
	})
	if found < 60 {
		t.Errorf("only %d keys in messages were found; are they written in another way now?", found)
	}
}

func TestNamedKeys(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"key", "set ra.client_cas, or est.users_file.", "ra.client_cas est.users_file"},
		{"end of a sentence", "see ca.chain_file", "ca.chain_file"},
		{"in brackets", "the CA (capf.issuer = \"local\")", "capf.issuer"},
		{"event", "the log says why (event ra.chain_failed)", ""},
		{"code", "it failed (est.csr-key-too-short)", ""},
		{"name of a file", "put it into ca.pem and /etc/callsign/adcs.password", ""},
		{"host", "https://ra.example.com:8084/ and adcs.example.com", ""},
		{"sentence", "Ask the ca. It knows the ra.", ""},
		{"another word", "extra.key_file", ""},
	} {
		if got := strings.Join(namedKeys(tc.text), " "); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	keys := configKeys()
	for _, key := range []string{"store.path", "log.level", "trace.dir", "capf.listen", "ca.key_file", "adcs.url", "est.listen", "ra.vouchers"} {
		if !slices.Contains(keys, key) {
			t.Errorf("the reference has no %s", key)
		}
	}
}

var (
	keyForm     = regexp.MustCompile(`(?:^|[^A-Za-z0-9_./-])((?:store|log|trace|capf|renewal|ca|adcs|est|ra|cluster)\.[a-z][a-z0-9_]*)(\.?-?[A-Za-z0-9]?)`)
	machineWord = regexp.MustCompile(`^[a-z]+\.[a-z0-9_.-]+$`)
	fileName    = regexp.MustCompile(`\.(pem|key|txt|log|toml|db|users|password|csr|example|json)$`)
)

// namedKeys returns what has the form of a configuration key in a text.
func namedKeys(text string) []string {
	var keys []string
	for _, m := range keyForm.FindAllStringSubmatchIndex(text, -1) {
		key, rest := text[m[2]:m[3]], text[m[4]:m[5]]
		goesOn := strings.HasPrefix(rest, "-") || len(rest) > 1 // a code or a host
		if !goesOn && !fileName.MatchString(key) && !namesEvent(text[:m[2]]) {
			keys = append(keys, key)
		}
	}
	return keys
}

// namesEvent tells that a text goes on with the name of an event of the log, in one of the languages.
func namesEvent(before string) bool {
	for _, word := range []string{"event ", "이벤트 ", "événement "} {
		if strings.HasSuffix(before, word) {
			return true
		}
	}
	return false
}

// configKeys returns every key as "section.name", out of the reference.
func configKeys() []string {
	var keys []string
	section := ""
	for line := range strings.Lines(config.Reference()) {
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimRight(name, "]\n")
		} else if m := keyLine.FindStringSubmatch(line); m != nil {
			keys = append(keys, section+"."+m[1])
		}
	}
	return keys
}

var keyLine = regexp.MustCompile(`^#?([a-z0-9_]+) = `)

var instruction = regexp.MustCompile(`(?:^|[^A-Za-z0-9_./-])callsign [a-z]+[^;,)]*`)

func TestWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, text string
		good       bool
	}{
		{"right", "run: callsign phone set SEP001122334455 --operation install", true},
		{"global flag", "callsign phone list --config x", true},
		{"no noun", "callsign telephone list", false},
		{"no verb", "callsign phone remove X", false},
		{"no flag", "callsign phone add X --pin 1", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := mentions(tc.text)
			if len(m) != 1 {
				t.Fatalf("found %v", m)
			}
			if w := wrong(m[0]); (w == "") != tc.good {
				t.Errorf("got %q", w)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	words := []string{"install", "delete", "troubleshoot", "none"}
	for _, tc := range []struct{ word, want string }{
		{"instal", "install"}, {"INSTALL", "install"}, {"trouble", "troubleshoot"}, {"nine", "none"}, {"xyzzy", ""}, {"", ""}, {"remove", ""},
	} {
		if got := strings.Join(nearest(tc.word, words), " "); got != tc.want {
			t.Errorf("nearest(%q) = %q, want %q", tc.word, got, tc.want)
		}
	}
	names := []string{"CallManager", "CallManager-ECDSA", "tomcat", "tomcat-ECDSA"}
	for word, want := range map[string]string{"Callmanger": "CallManager", "tomact": "tomcat", "TOMCAT": "tomcat", "tomcatt": "tomcat"} {
		if got := strings.Join(nearest(word, names), " "); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"a/b-c_1.toml": "a/b-c_1.toml", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'"} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}
