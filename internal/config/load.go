package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// Limits of a file: a configuration has a few KiB, and the decoder's memory grows with the square of a line's length.
const (
	MaxFileBytes = 256 << 10
	MaxLineBytes = 4 << 10
	maxProblems  = 50 // unknown keys that are reported for one file
)

// Load reads the configuration at path with conf.d/*.toml beside it and the variables of the process's environment, as
// LoadWith does.
func Load(path string) (*Config, error) { return LoadWith(path, os.Environ()) }

// LoadWith reads the configuration at path with conf.d/*.toml beside it, takes over the variables in environ
// ("CALLSIGN_CAPF_LISTEN=:3804"), which win over the files, fills in the defaults, makes the paths absolute or relative to
// the working directory as path is, and checks everything that can be checked without opening another file (CheckFiles
// does that). The error is an Errors with all problems, or a *FileError.
//
// A variable without a value counts as not set.
func LoadWith(path string, environ []string) (*Config, error) {
	l, err := read(path, environ)
	if err != nil {
		return nil, err
	}
	return l.finish()
}

// read reads files and variables and judges nothing yet but their form.
func read(path string, environ []string) (*loader, error) {
	c := Default()
	c.Path, c.Dir = path, filepath.Dir(path)
	names := []string{path}
	// Glob sorts; a pattern built from a directory name with special characters is why ReadDir is used instead.
	entries, err := os.ReadDir(filepath.Join(c.Dir, "conf.d"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fileError(filepath.Join(c.Dir, "conf.d"), err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".toml") && !strings.HasPrefix(entry.Name(), ".") && !entry.IsDir() {
			names = append(names, filepath.Join(c.Dir, "conf.d", entry.Name()))
		}
	}
	l := newLoader(&c)
	for _, name := range names {
		data, err := readFile(name)
		if err != nil {
			return nil, err
		}
		l.file(name, data)
	}
	l.environment(environ)
	l.takeLabels()
	return l, nil
}

// Parse reads a configuration from memory as Load does, without conf.d and environment. name is used in problems and for relative paths.
func Parse(name string, data []byte) (*Config, error) { return parse(name, data, nil) }

func parse(name string, data []byte, environ []string) (*Config, error) {
	c := Default()
	c.Path, c.Dir = name, filepath.Dir(name)
	l := newLoader(&c)
	l.file(name, data)
	l.environment(environ)
	l.takeLabels()
	return l.finish()
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the administrator names the file
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close() //nolint:errcheck // the file was only read
	data, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(data) > MaxFileBytes {
		return nil, &FileError{
			Path: path, ErrCode: "config.too-large", Detail: fmt.Sprintf("is larger than %d KiB", MaxFileBytes>>10),
			Fix: "check that this is Callsign's configuration file",
		}
	}
	return data, nil
}

func fileError(path string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &FileError{
			Path: path, ErrCode: "config.missing", Detail: "there is no such file", Err: err,
			Fix: "name an existing file with --config, or make one: callsign init --dir DIR",
		}
	}
	return &FileError{
		Path: path, ErrCode: "config.unreadable", Detail: "cannot be read: " + err.Error(), Err: err,
		Fix: "make it readable for the user that runs callsign",
	}
}

// loader fills a Config from files and collects what is wrong.
type loader struct {
	c        *Config
	problems Errors
	bad      map[string]bool // keys whose value could not be taken: no further complaint about them
	broken   bool            // a file did not parse: what is missing may be in it
	sections []section
	keys     []key
	labels   map[string]*loadedLabel
	files    []string // in the order in which they were read
}

func newLoader(c *Config) *loader {
	c.origins = map[string]position{}
	return &loader{c: c, bad: map[string]bool{}, labels: map[string]*loadedLabel{}, sections: sections(), keys: table()}
}

// finish judges the configuration, and makes its paths absolute.
func (l *loader) finish() (*Config, error) {
	l.judge()
	l.c.resolve()
	return l.result()
}

// judge finds out what is wrong with values, and what is missing.
func (l *loader) judge() {
	l.problems = append(l.problems, l.c.problems(l.bad, l.broken)...)
}

// result returns the configuration, or what is wrong with it.
func (l *loader) result() (*Config, error) {
	if len(l.problems) == 0 {
		return l.c, nil
	}
	slices.SortStableFunc(l.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(l.rank(a), l.rank(b)), cmp.Compare(placed(a), placed(b)), cmp.Compare(a.Line, b.Line))
	})
	return nil, l.problems
}

// rank gives problems the order in which their files were read.
func (l *loader) rank(p Problem) int {
	if i := slices.Index(l.files, p.File); i >= 0 {
		return i
	}
	return len(l.files)
}

// placed is 0 for a problem whose place is known, and 1 for the others, which come last.
func placed(p Problem) int {
	if p.Line > 0 {
		return 0
	}
	return 1
}

// file takes over the keys of one file.
func (l *loader) file(name string, data []byte) {
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF")) // a byte order mark would shift every place
	f := &file{name: name, data: data}
	l.files = append(l.files, name)
	if at, text := f.unsuitable(); text != "" {
		l.broken = true
		l.report(at, "", text)
		return
	}
	tables := map[string]toml.Primitive{}
	var err error
	if f.meta, err = toml.Decode(string(data), &tables); err != nil {
		l.broken = true
		at := position{file: name}
		text := err.Error()
		if parse := (toml.ParseError{}); errors.As(err, &parse) {
			at, text = f.place(parse.Position), parse.Message
		}
		l.report(at, "", "is not TOML: "+text)
		return
	}
	seen := map[string]bool{}
	for _, path := range f.meta.Keys() { // in the order of the file
		if seen[path[0]] {
			continue
		}
		seen[path[0]] = true
		if !l.section(f, path[0], tables[path[0]]) {
			return
		}
	}
}

// report adds a problem.
func (l *loader) report(at position, key, text string) {
	l.problems = append(l.problems, Problem{File: at.file, Line: at.line, Column: at.column, Key: key, Text: text})
}

// enough reports whether the file has so many problems that looking further helps nobody: finding the place of each
// costs a pass over the file. It says so once.
func (l *loader) enough(f *file) bool {
	f.unknown++
	if f.unknown == maxProblems+1 {
		l.report(position{file: f.name}, "", "there are more unknown keys")
	}
	return f.unknown > maxProblems
}

// section takes over one table of the file; false when there is no use in going on.
func (l *loader) section(f *file, name string, table toml.Primitive) bool {
	names := []string{"label"}
	var own section
	for _, s := range l.sections {
		names = append(names, s.name)
		if s.name == name {
			own = s
		}
	}
	known := slices.Contains(names, name)
	if !known && l.enough(f) {
		return false
	}
	at, data := f.locate(table, name)
	_, isTable := data.(map[string]any)
	if at.line == 0 && isTable {
		at = f.inside(name, table)
	}
	var text, near string
	switch {
	case name == "label" && !isTable:
		text = "must be a section with the label's name: [label.NAME]"
	case known && !isTable:
		text = fmt.Sprintf("must be a section: [%s]", name)
	case !isTable:
		text, near = "unknown key outside of a section", l.home(name)
	case !known:
		text, near = "unknown section", nearest(name, names)
		if near == "label" {
			near = "label.NAME"
		}
		if near != "" {
			near = "[" + near + "]"
		}
	}
	if near != "" {
		text += fmt.Sprintf(", did you mean %s?", near)
	}
	if text != "" {
		l.report(f.keyStart(at, name), name, text)
		return true
	}
	if name == "label" {
		return l.labelTables(f, at, table)
	}
	l.c.origins[name] = at
	return l.entries(f, entriesOf{section: own, path: toml.Key{name}, at: at}, table)
}

// entriesOf is whose entries are taken over.
type entriesOf struct {
	section section
	path    toml.Key // of the table in the file
	at      position
}

// entries takes over the keys of one table; false when there is no use in going on.
func (l *loader) entries(f *file, of entriesOf, table toml.Primitive) bool {
	values := map[string]toml.Primitive{}
	if err := f.meta.PrimitiveDecode(table, &values); err != nil {
		l.report(of.at, of.section.name, err.Error())
		return true
	}
	depth := len(of.path)
	for _, path := range f.meta.Keys() {
		if len(path) != depth+1 || !slices.Equal(path[:depth], of.path) {
			continue
		}
		if !l.entry(f, &of.section, path[depth], values[path[depth]]) {
			return false
		}
	}
	return true
}

// entry takes over one key of a section; false when there is no use in going on.
func (l *loader) entry(f *file, s *section, name string, value toml.Primitive) bool {
	full := s.name + "." + toml.Key{name}.String()
	index := slices.IndexFunc(s.keys, func(k key) bool { return k.name == name })
	if index < 0 {
		if l.enough(f) {
			return false
		}
		at, _ := f.locate(value, name)
		l.report(f.keyStart(at, name), full, "unknown key"+l.suggest(s, name))
		return true
	}
	at, data := f.locate(value, name)
	k := &s.keys[index]
	if text := k.decode(l.c, data); text != "" {
		l.bad[full] = true
		l.report(at, full, text)
		return true
	}
	l.bad[full] = false
	l.c.origins[full] = at
	return true
}

// file is one file while it is read.
type file struct {
	name string
	data []byte
	meta toml.MetaData

	unknown int // unknown keys and sections so far
}

// place returns the line and column of a byte offset; the decoder's own line is the next one when it stumbles over a
// line end.
func (f *file) place(p toml.Position) position {
	start := min(max(p.Start, 0), len(f.data))
	before := f.data[:start]
	return position{file: f.name, line: bytes.Count(before, []byte("\n")) + 1, column: start - bytes.LastIndexByte(before, '\n')}
}

// unsuitable returns why the decoder should not see the file, and where; "" when it may.
func (f *file) unsuitable() (position, string) {
	number := 0
	for line := range bytes.SplitSeq(f.data, []byte("\n")) {
		number++
		if len(line) > MaxLineBytes {
			return position{file: f.name, line: number, column: 1}, fmt.Sprintf("the line is longer than %d KiB", MaxLineBytes>>10)
		}
		if !utf8.Valid(line) {
			return position{file: f.name, line: number, column: 1}, "the line is not UTF-8 text"
		}
	}
	return position{}, ""
}

// probe is how the decoder is made to tell a value's place: it reports one only with an error of the value's own type.
type probe struct{ data any }

var errProbe = errors.New("probe")

// UnmarshalTOML implements toml.Unmarshaler.
func (p *probe) UnmarshalTOML(data any) error {
	p.data = data
	return errProbe
}

// locate returns the place of a value, or of its key when the decoder knows no better, and the value.
func (f *file) locate(value toml.Primitive, name string) (position, any) {
	var p probe
	err := f.meta.PrimitiveDecode(value, &p)
	at := position{file: f.name}
	if parse := (toml.ParseError{}); errors.As(err, &parse) && parse.Position.Line > 0 {
		at = f.place(parse.Position)
	}
	switch p.data.(type) {
	case map[string]any, []map[string]any:
		at = f.keyStart(at, name)
	}
	return at, p.data
}

// inside returns the place of the first thing in a table that has no place of its own, as lable in [lable.phones].
func (f *file) inside(name string, table toml.Primitive) position {
	at := position{file: f.name}
	for _, path := range f.meta.Keys() {
		if path[0] != name {
			continue
		}
		for _, step := range path[1:] {
			var values map[string]toml.Primitive
			if at.line > 0 || f.meta.PrimitiveDecode(table, &values) != nil {
				break
			}
			table = values[step]
			at, _ = f.locate(table, step)
		}
		break
	}
	return at
}

// keyStart moves a place to the beginning of its line when the key stands there.
func (f *file) keyStart(at position, name string) position {
	if at.line == 0 {
		return at
	}
	lines := bytes.SplitN(f.data, []byte("\n"), at.line+1)
	line := lines[at.line-1]
	trimmed := bytes.TrimLeft(line, " \t\"'[")
	if bytes.HasPrefix(trimmed, []byte(name)) {
		at.column = len(line) - len(bytes.TrimLeft(line, " \t")) + 1
	}
	return at
}
