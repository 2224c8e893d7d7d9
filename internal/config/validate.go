package config

// Validate reads a configuration as LoadWith does and reports everything that is wrong with it at once, what CheckFiles
// finds in the files of the keys that could be read included. The configuration is returned when nothing is wrong.
func Validate(path string, environ []string) (*Config, error) {
	l, err := read(path, environ)
	if err != nil {
		return nil, err
	}
	l.judge()
	l.c.resolve()
	l.problems = append(l.problems, l.c.fileProblems(l.bad)...)
	return l.result()
}
