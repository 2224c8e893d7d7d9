package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// errNotConfirmed ends a command whose user said no.
var errNotConfirmed = errors.New("not confirmed: nothing was changed")

// confirm asks on a terminal whether to go on; elsewhere --yes has to have been given. question names what will be done.
func (e *env) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(e.in) {
		return usage(errors.New("this needs a confirmation and stdin is no terminal: repeat it with --yes"))
	}
	fmt.Fprintf(e.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(e.in).ReadString('\n')
	if err != nil {
		return errNotConfirmed
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	default:
		return errNotConfirmed
	}
}
