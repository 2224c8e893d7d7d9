package demo

import (
	"regexp"
	"strings"
)

// What changes from run to run in a trace.
var variable = []*regexp.Regexp{
	regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} `),
	regexp.MustCompile(`127\.0\.0\.1(:\d+)?`),
	regexp.MustCompile(`length ?[:=] ?\d+`),
	regexp.MustCompile(`\b(addded|deleted) \d+ `),
	regexp.MustCompile(`[0-9a-fA-F]{16,}`),
	regexp.MustCompile(`\d{4}:\d\d:\d\d:\d\d:\d\d`),
}

// sessionShape is what capf.txt says of phones: the lines after the service is ready, without what changes from run to run.
func sessionShape(trace string) []string {
	var out []string
	for line := range strings.Lines(trace) {
		line = strings.TrimRight(line, "\r\n")
		for _, v := range variable {
			line = v.ReplaceAllString(line, "*")
		}
		if strings.Contains(line, ":SEP") {
			out = append(out, line)
		}
	}
	return out
}
