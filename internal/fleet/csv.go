package fleet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"callsign/capf"
	"callsign/internal/explain"
)

// column is a column of an import file.
type column int

// The columns of an import file, in the order in which an export has them.
const (
	colName column = iota
	colModel
	colDescription
	colAuth
	colString
	colOperation
	colKeyOrder
	colRSABits
	colECBits
	colCompletesBy
	colIgnored column = -1
)

var columnNames = []string{
	"name", "model", "description", "authentication", "auth_string", "operation", "key_order", "rsa_bits", "ec_bits", "completes_by",
}

func (c column) String() string { return columnNames[c] }

// The headings of the vendor's files, folded. They vary from version to version (spec: CAPF section 13).
var vendorColumns = map[string]column{
	"devicename": colName, "devicetype": colModel, "model": colModel, "description": colDescription,
	"authenticationmode": colAuth, "authenticationstring": colString, "certificateoperation": colOperation,
	"keyorder": colKeyOrder, "rsakeysizebits": colRSABits, "rsakeysize": colRSABits, "keysizebits": colRSABits,
	"eckeysizebits": colECBits, "eckeysize": colECBits, "operationcompletesby": colCompletesBy,
}

// Limits of an import file.
const (
	maxLine     = 64 << 10 // bytes
	maxRows     = 100_000  // with content; phones that call wait as long as the transaction takes, and not for ever
	maxProblems = 1000     // that are kept
)

// RowProblem is what is wrong with a row of an import file.
type RowProblem struct {
	Line   int    `json:"line"`
	Column string `json:"column,omitempty"` // empty: the row as a whole
	Code   string `json:"code"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy"`
}

// Sheet is an import file that was read: what to change of which phones. Its values are in our words or the vendor's.
type Sheet struct {
	Rows     int          // rows with content, bad ones included
	Bad      int          // rows that cannot be imported
	Problems []RowProblem // of the bad rows, in the order of the lines; at most 1,000 are kept
	Ignored  []string     // headings of a vendor's file that say nothing about certificates
	rows     []sheetRow   // the good ones
}

// sheetRow is a good row. A field counts when the row has a value for its column.
type sheetRow struct {
	line               int
	has                uint16 // bits by column
	name               string
	model, description string
	auth               AuthMode
	str                capf.Secret
	operation          Operation
	order              KeyOrder
	rsaBits, ecBits    int
	completesBy        time.Time
}

func (r *sheetRow) set(c column)       { r.has |= 1 << c }
func (r *sheetRow) sets(c column) bool { return r.has&(1<<c) != 0 }

// ReadSheet reads an import file: UTF-8 with or without a byte order mark, a header line, then a line for each phone;
// commas, semicolons or tabs between the values, which may stand in quotes but not go over the end of the line. zone is
// that of times that name none; nil is time.Local. What is wrong with rows is in the Sheet; the error is a *Problem when
// the file as a whole cannot be used (fleet.csv-encoding, fleet.csv-header, fleet.csv-empty, fleet.csv-too-long), or that
// of r.
func ReadSheet(r io.Reader, zone *time.Location) (*Sheet, error) {
	if zone == nil {
		zone = time.Local
	}
	p := &sheetParser{in: bufio.NewReaderSize(r, maxLine), zone: zone, seen: map[string]int{}}
	if err := p.begin(); err != nil {
		return nil, err
	}
	for {
		line, err := p.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, errLongLine) {
			return nil, err
		}
		if p.sheet.Rows == maxRows {
			return nil, problem("fleet.csv-too-long", fmt.Sprintf("the file has more than %d rows", maxRows), "split it into several files, each with the header line")
		}
		p.row(line, err)
	}
	if p.sheet.Rows == 0 {
		return nil, problem("fleet.csv-empty", "the file has a header line and no phones", "write a line for each phone below the header")
	}
	return &p.sheet, nil
}

// HasStrings tells that rows have authentication strings.
func (s *Sheet) HasStrings() bool {
	return slices.ContainsFunc(s.rows, func(r sheetRow) bool { return r.sets(colString) })
}

type sheetParser struct {
	in      *bufio.Reader
	zone    *time.Location
	line    int // number of the last one read
	sep     byte
	columns []column
	vendor  bool
	seen    map[string]int // name -> line
	sheet   Sheet
}

// errLongLine tells a line that is longer than maxLine; the rest of it was skipped.
var errLongLine = errors.New("line too long")

// next returns the next line without its end; io.EOF after the last one.
func (p *sheetParser) next() (string, error) {
	raw, err := p.in.ReadSlice('\n')
	if len(raw) == 0 && err != nil {
		return "", err
	}
	p.line++
	if errors.Is(err, bufio.ErrBufferFull) {
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = p.in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		return "", errLongLine
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))), nil
}

// begin reads up to the end of the header.
func (p *sheetParser) begin() error {
	start, _ := p.in.Peek(4)
	switch {
	case bytes.HasPrefix(start, []byte("\xef\xbb\xbf")):
		_, _ = p.in.Discard(3)
	case bytes.HasPrefix(start, []byte("\xff\xfe")), bytes.HasPrefix(start, []byte("\xfe\xff")):
		return problem("fleet.csv-encoding", "the file is UTF-16, not UTF-8", `save it as "CSV UTF-8", or convert it: iconv -f UTF-16 -t UTF-8 FILE`)
	case bytes.HasPrefix(start, []byte("PK\x03\x04")):
		return problem("fleet.csv-encoding", "the file is a workbook or an archive, not CSV", `open it with the program that made it and save it as "CSV UTF-8"`)
	}
	for {
		line, err := p.next()
		switch {
		case errors.Is(err, io.EOF):
			return problem("fleet.csv-empty", "the file is empty", "write a header line, such as name,model,operation, and a line for each phone")
		case errors.Is(err, errLongLine):
			return problem("fleet.csv-header", fmt.Sprintf("line %d is longer than %d KiB", p.line, maxLine>>10), "check that this is a CSV file")
		case err != nil:
			return err
		case !utf8.ValidString(line):
			return problem("fleet.csv-encoding", fmt.Sprintf("line %d is not UTF-8", p.line),
				`save the file as "CSV UTF-8", or convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE`)
		case strings.Contains(line, "\x00"):
			return problem("fleet.csv-encoding", fmt.Sprintf("line %d has zero bytes: the file is UTF-16 without a mark, or no text", p.line),
				`save it as "CSV UTF-8", or convert it: iconv -f UTF-16LE -t UTF-8 FILE`)
		case strings.Contains(line, "\r"):
			return problem("fleet.csv-header", fmt.Sprintf("line %d has carriage returns within it", p.line),
				"save the file with the line ends of Windows or Unix, or convert it: tr '\\r' '\\n' < FILE > NEW")
		case strings.TrimSpace(line) == "":
			continue
		}
		// The line by which a spreadsheet program is told the separator.
		if sep, ok := strings.CutPrefix(strings.ToLower(line), "sep="); ok && len(sep) == 1 && strings.Contains(",;\t", sep) && p.sep == 0 {
			p.sep = sep[0]
			continue
		}
		return p.header(line)
	}
}

// header finds the separator, unless it is known, and the columns.
func (p *sheetParser) header(line string) error {
	if p.sep == 0 {
		p.sep = ','
		for _, sep := range []byte(";\t") {
			if strings.Count(line, string(sep)) > strings.Count(line, string(p.sep)) {
				p.sep = sep
			}
		}
	}
	bad := func(detail string) error {
		return problem("fleet.csv-header", fmt.Sprintf("line %d: %s", p.line, detail),
			"name the columns in the first line; there are "+strings.Join(columnNames, ", "))
	}
	headings, err := cells(line, p.sep)
	if err != nil {
		return bad(err.Error())
	}
	var unknown []string
	for _, h := range headings {
		c, vendor, ok := findColumn(h)
		p.vendor = p.vendor || vendor
		switch {
		case h == "":
			c = colIgnored
		case !ok:
			unknown = append(unknown, h)
		case slices.Contains(p.columns, c):
			return bad(fmt.Sprintf("column %s is there twice", c))
		}
		p.columns = append(p.columns, c)
	}
	switch {
	case len(unknown) > 0 && !p.vendor:
		return bad(shown(unknown[0]) + " is no column" + likeColumn(unknown[0]))
	case !slices.Contains(p.columns, colName):
		return bad("there is no column name")
	}
	p.sheet.Ignored = unknown
	return nil
}

// findColumn finds the column of a heading, and whether it is one that only the vendor's files have.
func findColumn(heading string) (c column, vendor, ok bool) {
	folded := fold(heading)
	for i, name := range columnNames {
		if folded == fold(name) {
			return column(i), false, true
		}
	}
	if c, ok := vendorColumns[folded]; ok {
		return c, true, true
	}
	return colIgnored, false, false
}

func likeColumn(heading string) string {
	for _, name := range columnNames {
		if explain.Distance(strings.ToLower(heading), name, 2) <= 2 {
			return ", did you mean " + name + "?"
		}
	}
	return ""
}

// cells splits a line at the separator.
func cells(line string, sep byte) ([]string, error) {
	var all []string
	for {
		quoted, ok := strings.CutPrefix(strings.TrimLeft(line, " "), `"`)
		if !ok {
			value, rest, more := strings.Cut(line, string(sep))
			all = append(all, strings.TrimSpace(value))
			if !more {
				return all, nil
			}
			line = rest
			continue
		}
		var value strings.Builder
		for {
			part, rest, closed := strings.Cut(quoted, `"`)
			if !closed {
				return nil, errors.New("a value in quotes does not end on its line")
			}
			value.WriteString(part)
			quoted = rest
			if !strings.HasPrefix(rest, `"`) {
				break
			}
			value.WriteByte('"')
			quoted = rest[1:]
		}
		all = append(all, value.String())
		quoted = strings.TrimLeft(quoted, " ")
		if quoted == "" {
			return all, nil
		}
		if quoted[0] != sep {
			return nil, errors.New("there is text behind a value in quotes")
		}
		line = quoted[1:]
	}
}

// row takes a line below the header; long is errLongLine or nil.
func (p *sheetParser) row(line string, long error) {
	if long == nil && strings.Trim(line, " \t"+string(p.sep)) == "" {
		return // blank, or a spreadsheet's line of empty cells
	}
	p.sheet.Rows++
	var problems []RowProblem
	report := func(column string, pr *Problem) {
		problems = append(problems, RowProblem{Line: p.line, Column: column, Code: pr.ErrCode, Detail: pr.Detail, Remedy: pr.Fix})
	}
	var row sheetRow
	switch {
	case long != nil:
		report("", problem("fleet.csv-row", fmt.Sprintf("the line is longer than %d KiB", maxLine>>10), "look for a quote that is never closed, or leave the row out"))
	case !utf8.ValidString(line):
		report("", problem("fleet.csv-encoding", fmt.Sprintf("the line is not UTF-8 (byte 0x%02X)", foreignByte(line)),
			`save the file as "CSV UTF-8", or convert it: iconv -f WINDOWS-1252 -t UTF-8 FILE`))
	default:
		row = p.parse(line, report)
	}
	if len(problems) > 0 {
		p.sheet.Bad++
		p.sheet.Problems = append(p.sheet.Problems, problems[:min(len(problems), maxProblems-len(p.sheet.Problems))]...)
		return
	}
	p.sheet.rows = append(p.sheet.rows, row)
}

// foreignByte is the first byte that is not part of UTF-8.
func foreignByte(s string) byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			return s[i]
		}
		i += n
	}
	return 0
}

// parse reads the values of a row and reports all that are wrong.
func (p *sheetParser) parse(line string, report func(string, *Problem)) sheetRow {
	row := sheetRow{line: p.line}
	values, err := cells(line, p.sep)
	if err != nil {
		report("", problem("fleet.csv-row", err.Error(), `write a quote within a value twice: "the ""big"" room"`))
		return row
	}
	for i, v := range values {
		if i >= len(p.columns) {
			if strings.TrimSpace(v) != "" {
				report("", problem("fleet.csv-row", fmt.Sprintf("the row has more values than the header has columns (%d)", len(p.columns)),
					"put values that contain the separator into quotes"))
				break
			}
			continue
		}
		c := p.columns[i]
		if c == colIgnored || strings.TrimSpace(v) == "" {
			continue
		}
		if err := p.value(&row, c, v); err != nil {
			pr, _ := errors.AsType[*Problem](err)
			report(c.String(), pr)
		}
	}
	switch first, again := p.seen[row.name]; {
	case row.name == "" && slices.Index(p.columns, colName) >= len(values), row.name == "" && strings.TrimSpace(values[slices.Index(p.columns, colName)]) == "":
		report(colName.String(), problem("fleet.device-name", "the row names no phone", "use a name such as SEP001122334455"))
	case row.name == "": // has been reported
	case again:
		report(colName.String(), problem("fleet.csv-duplicate", fmt.Sprintf("%s is in line %d already", row.name, first), "leave one row for each phone"))
	default:
		p.seen[row.name] = p.line
	}
	return row
}

// value reads one cell. Every error is a *Problem, and none shows an authentication string.
func (p *sheetParser) value(row *sheetRow, c column, v string) error {
	var err error
	switch c {
	case colName:
		name := strings.ToUpper(strings.TrimSpace(v))
		if !deviceName.MatchString(name) {
			return problem("fleet.device-name", shown(v)+" is no device name",
				"use SEP and the 12 hexadecimal digits of the MAC address, e.g. SEP001122334455, or a CSF, TCT, BOT or TAB name")
		}
		row.name = strings.Clone(name) // a part of the line would keep all of it
	case colModel:
		row.model = strings.Clone(unguarded(v))
		if p.vendor {
			row.model = vendorModel(row.model)
		}
		err = checkModel(row.model)
	case colDescription:
		row.description = strings.Clone(unguarded(v))
		err = checkDescription(row.description)
	case colAuth:
		row.auth, err = ParseAuthMode(v)
	case colString:
		row.str = capf.Secret(strings.TrimSpace(v))
		if !authString.Match(row.str) {
			return problem("fleet.string-form", "the authentication string has other than 4 to 10 digits",
				"give 4 to 10 digits; spreadsheets drop zeros at the beginning unless the column is text")
		}
	case colOperation:
		row.operation, err = ParseOperation(v)
	case colKeyOrder:
		row.order, err = ParseKeyOrder(v)
	case colRSABits:
		if noSize(v) {
			return nil
		}
		row.rsaBits, err = ParseRSABits(v)
	case colECBits:
		if noSize(v) {
			return nil
		}
		row.ecBits, err = ParseECBits(v)
	case colCompletesBy:
		row.completesBy, err = ParseCompletesBy(v, p.zone)
	}
	row.set(c)
	return err
}

// noSize tells what the vendor writes for the size of a key that is not asked for.
func noSize(v string) bool {
	switch fold(v) {
	case "0", "invalid", "invalid0", "na":
		return true
	}
	return false
}

// vendorModel is the vendor's device type as a model: "Cisco 8865" is 8865.
func vendorModel(v string) string {
	if rest, ok := strings.CutPrefix(v, "Cisco "); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
		return rest
	}
	return v
}

// Characters at the beginning of a cell by which spreadsheet programs take it for a formula, and the quote by which an
// export keeps them from it.
const formula = "=+-@\t\r'"

// guarded puts a quote before text that a spreadsheet program would compute. A quote is guarded itself, so unguarded
// always gives back the text.
func guarded(s string) string {
	if s != "" && strings.IndexByte(formula, s[0]) >= 0 {
		return "'" + s
	}
	return s
}

func unguarded(s string) string {
	if rest, ok := strings.CutPrefix(s, "'"); ok && rest != "" && strings.IndexByte(formula, rest[0]) >= 0 {
		return rest
	}
	return s
}
