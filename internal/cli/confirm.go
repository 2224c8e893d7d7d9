package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
)

// errNotConfirmed ends a command whose user said no.
var errNotConfirmed = errors.New("not confirmed: nothing was changed")

// confirm asks on a terminal whether to go on; elsewhere --yes has to have been given. question names what will be done.
// An interruption is an answer as well.
func (e *env) confirm(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if !isTerminal(e.in) {
		return usage(errors.New("this needs a confirmation and stdin is no terminal: repeat it with --yes"))
	}
	fmt.Fprintf(e.err, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // reading a terminal does not end with a context; it ends with the process
		line, err := bufio.NewReader(e.in).ReadString('\n')
		if err != nil {
			line = ""
			fmt.Fprintln(e.err) // nobody ended the line
		}
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(e.err)
		return ctx.Err()
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		default:
			return errNotConfirmed
		}
	}
}
