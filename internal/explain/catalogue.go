package explain

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The catalogue is data: a file a family, for our own problems a file a room, with all languages of a text side by side.
//
//go:embed catalogue
var files embed.FS

// words is a text in every language.
type words map[Lang]string

// source is an entry as it stands in a file.
type source struct {
	Code    string    `json:"code"`
	Like    string    `json:"like"` // the entry that says what this one does not say itself
	Aliases []string  `json:"aliases"`
	Curl    []int     `json:"curl"`
	Wording []Wording `json:"wording"`
	Also    []string  `json:"also"`
	Title   words     `json:"title"`
	Meaning words     `json:"meaning"`
	Depths  []struct {
		From int   `json:"from"`
		To   *int  `json:"to"` // nil: no end
		Text words `json:"text"`
	} `json:"depths"`
	Causes   []words `json:"causes"`
	Evidence []words `json:"evidence"`
	Remedy   []words `json:"remedy"`
}

// verifySource is a verification error of OpenSSL as it stands in the file.
type verifySource struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Text   string `json:"text"`
	Old    string `json:"text_1_1_1"`
	Code   string `json:"code"` // of the entry that explains it
}

// file is one file of the catalogue.
type file struct {
	Family       Family         `json:"family"`
	VerifyErrors []verifySource `json:"verify_errors"`
	Entries      []source       `json:"entries"`
}

// ref is what a name leads to: an entry, and the verification error of it that was meant, or -1.
type ref struct{ entry, verify int }

// catalogue is everything, ready for use. It is not changed after it was made.
type catalogue struct {
	entries  []Entry
	index    map[string][]ref // by code and other names
	folded   map[string][]ref // the same in lower case
	patterns []pattern
	labels   map[string]words
}

// The catalogue is read when the first explanation is wanted. Its files are part of the program, so that a mistake in
// them is a defect, which the tests find.
var loaded = sync.OnceValue(func() *catalogue {
	c, err := load(files)
	if err != nil {
		panic(err)
	}
	return c
})

// Entries returns everything that the catalogue explains, in the order of its files. It is not to be changed.
func Entries() []Entry { return loaded().entries }

// Known reports whether the catalogue explains this very code.
func Known(code string) bool {
	return slices.ContainsFunc(loaded().index[code], func(r ref) bool { return loaded().entries[r.entry].Code == code })
}

// load reads a catalogue.
func load(fsys fs.FS) (*catalogue, error) {
	c := &catalogue{index: map[string][]ref{}, folded: map[string][]ref{}}
	names, err := fs.Glob(fsys, "catalogue/*.json")
	if err != nil {
		return nil, err
	}
	rooms, err := fs.Glob(fsys, "catalogue/problem/*.json")
	if err != nil {
		return nil, err
	}
	var all []source
	var families []Family
	var verify []verifySource
	for _, name := range slices.Concat(names, rooms) {
		if name == "catalogue/labels.json" {
			if err := decode(fsys, name, &c.labels); err != nil {
				return nil, err
			}
			continue
		}
		var f file
		if err := decode(fsys, name, &f); err != nil {
			return nil, err
		}
		for range f.Entries {
			families = append(families, f.Family)
		}
		all, verify = append(all, f.Entries...), append(verify, f.VerifyErrors...)
	}
	at := make(map[string]int, len(all))
	for i, s := range all {
		if _, twice := at[s.Code]; twice {
			return nil, fmt.Errorf("catalogue: two entries have the code %q", s.Code)
		}
		at[s.Code] = i
	}
	for i := range all {
		s, err := complete(all, at, i, 0)
		if err != nil {
			return nil, err
		}
		c.entries = append(c.entries, s.entry(families[i]))
	}
	for _, v := range verify {
		i, ok := at[v.Code]
		if !ok {
			return nil, fmt.Errorf("catalogue: verification error %d leads to %q, which is no entry", v.Number, v.Code)
		}
		e := &c.entries[i]
		e.OpenSSL = append(e.OpenSSL, VerifyError{Number: v.Number, Name: v.Name, Text: v.Text, Old: v.Old})
	}
	c.makeIndex()
	c.makePatterns(all)
	return c, nil
}

func decode(fsys fs.FS, name string, into any) error {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// complete returns source i with what it leaves to others.
func complete(all []source, at map[string]int, i, depth int) (source, error) {
	s := all[i]
	if s.Like == "" {
		return s, nil
	}
	j, ok := at[s.Like]
	if !ok || depth > len(all) {
		return s, fmt.Errorf("catalogue: %s is like %q, which is no entry or is like it in turn", s.Code, s.Like)
	}
	other, err := complete(all, at, j, depth+1)
	if err != nil {
		return s, err
	}
	if s.Title == nil {
		s.Title = other.Title
	}
	if s.Meaning == nil {
		s.Meaning = other.Meaning
	}
	if s.Causes == nil {
		s.Causes = other.Causes
	}
	if s.Evidence == nil {
		s.Evidence = other.Evidence
	}
	if s.Remedy == nil {
		s.Remedy = other.Remedy
	}
	if !slices.Contains(s.Also, s.Like) {
		s.Also = append(slices.Clone(s.Also), s.Like)
	}
	return s, nil
}

func (s *source) entry(f Family) Entry {
	e := Entry{
		Code: s.Code, Family: f, Aliases: s.Aliases, Curl: s.Curl, Wording: s.Wording, Also: s.Also,
		Texts: make(map[Lang]Text, len(Langs())),
	}
	if number, ok := strings.CutPrefix(s.Code, "curl:"); ok {
		if n, err := strconv.Atoi(number); err == nil {
			e.Curl = []int{n}
		}
	}
	for _, d := range s.Depths {
		to := -1
		if d.To != nil {
			to = *d.To
		}
		e.Depths = append(e.Depths, Depth{From: d.From, To: to, Texts: d.Text})
	}
	for _, l := range Langs() {
		e.Texts[l] = Text{
			Title: s.Title[l], Meaning: s.Meaning[l], Causes: in(s.Causes, l), Evidence: in(s.Evidence, l), Remedy: in(s.Remedy, l),
		}
	}
	return e
}

// in returns texts in one language.
func in(all []words, l Lang) []string {
	texts := make([]string, len(all))
	for i, w := range all {
		texts[i] = w[l]
	}
	return texts
}

// makeIndex fills the index: every code and other name, and what stands behind the colon of those that have one
// ("openssl:20" is found as "20", too).
func (c *catalogue) makeIndex() {
	for i := range c.entries {
		e := &c.entries[i]
		for j, v := range e.OpenSSL {
			r := ref{i, j}
			c.add("openssl:"+strconv.Itoa(v.Number), r)
			c.add(v.Name, r)
		}
		for _, name := range append([]string{e.Code}, e.Aliases...) {
			c.add(name, ref{i, -1})
		}
	}
}

func (c *catalogue) add(name string, r ref) {
	names := []string{name}
	if _, rest, ok := strings.Cut(name, ":"); ok {
		names = append(names, rest)
	}
	for _, n := range names {
		insert(c.index, n, r)
		insert(c.folded, strings.ToLower(n), r)
	}
}

// insert keeps the first reference to each entry: that to a verification error comes before that to the entry alone.
func insert(index map[string][]ref, name string, r ref) {
	if !slices.ContainsFunc(index[name], func(o ref) bool { return o.entry == r.entry }) {
		index[name] = append(index[name], r)
	}
}

// label returns a word of the pages in a language.
func (c *catalogue) label(name string, l Lang) string { return c.labels[name][l] }
