package explain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// statusCode returns the hexadecimal form of a Windows status code that is written as a decimal, with a sign as certutil
// prints it or without as the log of IIS does: "-2146875392" and "2148091904" are 0x80094800. Other words come back as they
// are.
func statusCode(word string) string {
	n, err := strconv.ParseInt(word, 10, 64)
	const failure = 1 << 31 // the highest bit of 32
	switch {
	case err != nil || len(word) < 10:
		return word
	case n < 0 && n >= -failure:
		n += 1 << 32
	case n < failure || n >= 1<<32:
		return word
	}
	return fmt.Sprintf("0x%08x", n)
}

var (
	// iisRow is the end of a row in the log of IIS: sc-status, sc-substatus, sc-win32-status, and mostly sizes and time-taken.
	iisRow = regexp.MustCompile(`(?:^|\s)([1-5]\d\d) (\d{1,3}) (\d{1,10})(?: \d{1,10}){0,3}\s*$`)
	// iisRequest is what else stands in such a row.
	iisRequest = regexp.MustCompile(`\b(?:GET|POST|HEAD|RPC_IN_DATA|OPTIONS) /`)
)

// iisHits finds what a row in the log of IIS speaks of: the status, and the error of Windows behind it. A row may be given
// as its last numbers alone.
func (c *catalogue) iisHits(line string) []hit {
	m := iisRow.FindStringSubmatchIndex(line)
	if m == nil || strings.TrimSpace(line[:m[2]]) != "" && !iisRequest.MatchString(line) {
		return nil
	}
	status, sub, win32 := line[m[2]:m[3]], line[m[4]:m[5]], line[m[6]:m[7]]
	var hits []hit
	add := func(name string, at, end, weight int) {
		for _, r := range c.folded[name] {
			hits = append(hits, hit{ref: r, start: at, end: end, weight: weight})
		}
	}
	add("iis:"+status+"."+sub, m[2], m[5], codeWeight)
	if len(hits) == 0 {
		add("iis:"+status, m[2], m[5], codeWeight)
	}
	// "Access denied" and "file not found" say no more than 401.2 and 404.0 do.
	if len(hits) == 0 || win32 != "5" && win32 != "2" {
		add("win32:"+win32, m[6], m[7], codeWeight+len(win32))
	}
	return hits
}
