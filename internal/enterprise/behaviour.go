package enterprise

import (
	"fmt"
	"slices"
	"strings"

	"callsign/certsrv/certsrvtest"
	"callsign/internal/explain"
)

// Trouble is what is wrong with the certificate that the web server shows. Its values are words of [ParseBehaviour].
type Trouble string

// Troubles with the certificate of the web server.
const (
	NoTrouble   Trouble = ""              // it is right
	Untrusted   Trouble = "untrusted"     // its issuer is a CA that no client of the enterprise trusts
	SelfSigned  Trouble = "self-signed"   // it has issued itself, as IIS makes one for tests
	WrongName   Trouble = "wrong-name"    // it is for another host
	NotYetValid Trouble = "not-yet-valid" // it begins tomorrow
	Expired     Trouble = "expired"       // it ended yesterday
)

// Word is a word of a behaviour list.
type Word struct {
	Name    string // "slow"
	Value   string // what follows it: "=TIME"; in brackets when it can be left out; empty when there is none
	Meaning string // half a sentence for help
}

// String returns the word as it is written, with its value.
func (w Word) String() string { return w.Name + w.Value }

// own are the words of this package.
var own = []Word{
	{string(Untrusted), "", "the web server's certificate comes from a CA that nobody trusts"},
	{string(SelfSigned), "", "the web server's certificate has issued itself"},
	{string(WrongName), "", "the web server's certificate is for another host"},
	{string(NotYetValid), "", "the web server's certificate begins tomorrow"},
	{string(Expired), "", "the web server's certificate ended yesterday"},
}

// Behaviour is how the enterprise treats its clients. The zero value serves them well.
type Behaviour struct {
	Certificate Trouble              // of the web server
	Pages       certsrvtest.Scenario // of what is behind it
}

// IsZero tells whether clients are served well.
func (b Behaviour) IsZero() bool { return b == Behaviour{} }

// Mendable tells whether the CA's manager can make the enterprise serve its clients better: not what is wrong with the
// certificate of the web server, which stays.
func (b Behaviour) Mendable() bool { return b.Pages != (certsrvtest.Scenario{}) }

// Words returns the words that [ParseBehaviour] knows by itself, in the order in which help lists them.
func Words() []Word { return slices.Concat(own, pageWords()) }

// pageWords are the words of certsrvtest.
func pageWords() []Word {
	var out []Word
	for _, w := range certsrvtest.Words() {
		value := w.Value
		switch {
		case strings.HasPrefix(value, "["):
			value = "[=" + value[1:]
		case value != "":
			value = "=" + value
		}
		out = append(out, Word{w.Name, value, w.Means})
	}
	return out
}

// ParseBehaviour reads a list of words with commas between them. A word is a [Trouble], of which there can be one, or one
// of more, which the caller knows: those come back as others, in their order. All other words are certsrvtest's. The empty
// list is the zero Behaviour. Errors are *Problem with CodeBehaviour, which names the nearest word, or all.
func ParseBehaviour(list string, more ...Word) (b Behaviour, others []string, err error) {
	if strings.TrimSpace(list) == "" {
		return b, nil, nil
	}
	var pages []string
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		name, _, _ := strings.Cut(word, "=")
		switch {
		case named(own, name):
			if b.Certificate != NoTrouble {
				return Behaviour{}, nil, badBehaviour("%s and %s at the same time: the web server shows one certificate", b.Certificate, name)
			}
			b.Certificate = Trouble(name)
		case named(more, name):
			others = append(others, name)
		case named(pageWords(), name):
			pages = append(pages, word)
			continue
		default:
			return Behaviour{}, nil, unknownWord(word, slices.Concat(Words(), more))
		}
		if name != word {
			return Behaviour{}, nil, badBehaviour("%q: %s takes no value", word, name)
		}
	}
	if b.Pages, err = certsrvtest.ParseScenario(strings.Join(pages, ",")); err != nil {
		p := badBehaviour("%v", err)
		p.Err = err
		return Behaviour{}, nil, p
	}
	return b, others, nil
}

func named(words []Word, name string) bool {
	return slices.ContainsFunc(words, func(w Word) bool { return w.Name == name })
}

func badBehaviour(format string, args ...any) *Problem {
	return &Problem{ErrCode: CodeBehaviour, Detail: fmt.Sprintf(format, args...), Fix: "write the words with commas between them, such as: slow=12s,pending"}
}

// unknownWord says which word was perhaps meant, and which there are.
func unknownWord(word string, known []Word) *Problem {
	if word == "" {
		return badBehaviour("there is nothing between two commas, or before or after one")
	}
	name, _, _ := strings.Cut(word, "=")
	const farthest = 2
	meant, least := "", farthest+1
	all := make([]string, len(known))
	for i, w := range known {
		all[i] = w.String()
		if d := explain.Distance(strings.ToLower(name), w.Name, farthest); d < least {
			meant, least = w.Name, d
		}
	}
	p := badBehaviour("nobody knows the word %q", word)
	if meant != "" {
		p.Detail += fmt.Sprintf("; did you mean %s?", meant)
	}
	p.Fix = "use these: " + strings.Join(all, ", ")
	return p
}
