package capf

import "fmt"

// Operation is a certificate operation. Its zero value is OperationNone.
type Operation uint8

// The certificate operations.
const (
	OperationNone         Operation = iota // no pending operation
	OperationInstall                       // install or upgrade
	OperationDelete                        // delete
	OperationTroubleshoot                  // fetch the certificates that the phone has
)

// String returns "none", "install", "delete" or "troubleshoot", the words of commands, JSON and CSV.
func (o Operation) String() string {
	switch o {
	case OperationNone:
		return "none"
	case OperationInstall:
		return "install"
	case OperationDelete:
		return "delete"
	case OperationTroubleshoot:
		return "troubleshoot"
	}
	return fmt.Sprintf("operation(%d)", uint8(o))
}

// ParseOperation is the inverse of Operation.String.
func ParseOperation(s string) (Operation, error) {
	for o := OperationNone; o <= OperationTroubleshoot; o++ {
		if s == o.String() {
			return o, nil
		}
	}
	return 0, fmt.Errorf("unknown operation %q: want none, install, delete or troubleshoot", s)
}

// MarshalText implements encoding.TextMarshaler with the words of String.
func (o Operation) MarshalText() ([]byte, error) {
	if o > OperationTroubleshoot {
		return nil, fmt.Errorf("unknown operation %d", uint8(o))
	}
	return []byte(o.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Operation) UnmarshalText(b []byte) error {
	v, err := ParseOperation(string(b))
	if err != nil {
		return err
	}
	*o = v
	return nil
}
