package cluster

import (
	"context"
	"errors"
	"time"
)

// ErrChanged is returned by Store.Apply when the cluster is not at the revision that the change was made for.
var ErrChanged = errors.New("the cluster was changed in between")

// Store keeps the certificates of clusters. Clusters are told apart by their names; one that nobody has written to is
// empty, at revision 0. Implementations pass the tests of the package clustertest and are safe for concurrent use, also by
// several processes.
type Store interface {
	// View calls do with a reader of one cluster. Everything read through it is of one moment.
	View(ctx context.Context, cluster string, do func(Reader) error) error
	// Apply makes a change as a whole, or returns ErrChanged when the cluster is not at its revision, or another error;
	// then nothing is changed. The revision is one more afterwards.
	Apply(ctx context.Context, cluster string, c *Change) error
	// CheckKeys looks whether every identity certificate and every request of a cluster has the key that fits, and returns
	// what is wrong, each in a sentence; none when all is well. Replaced generations are looked at as well.
	CheckKeys(ctx context.Context, cluster string) ([]string, error)
}

// Reader reads a cluster at one moment. It is used by one goroutine, and only inside of Store.View. Lists are ordered by
// purpose or store, node and fingerprint unless said otherwise.
type Reader interface {
	Revision(ctx context.Context) (int64, error)
	// Identities returns the certificates in service.
	Identities(ctx context.Context) ([]Identity, error)
	// Requests returns the requests that wait.
	Requests(ctx context.Context) ([]Request, error)
	// Generations returns the certificates that were replaced and whose keys are kept, those of one purpose and node from the
	// latest replaced on.
	Generations(ctx context.Context) ([]Generation, error)
	// Retired returns the remembered requests of a purpose and node, the latest first.
	Retired(ctx context.Context, purpose, node string) ([]Retired, error)
	// TrustList returns the certificates of a store, or of all stores for "", without their DER.
	TrustList(ctx context.Context, store string) ([]Trust, error)
	// TrustBySubject returns the certificates of a store whose subject has one of these name keys, with their DER.
	TrustBySubject(ctx context.Context, store string, keys ...string) ([]Trust, error)
	// TrustByCommonName returns the certificates of a store with this common name, without regard to ASCII case, with their
	// DER; none for an empty name, which is no name.
	TrustByCommonName(ctx context.Context, store, name string) ([]Trust, error)
	// TrustByFingerprint returns the certificates in any store with this fingerprint, with their DER.
	TrustByFingerprint(ctx context.Context, sha256 string) ([]Trust, error)
	// TrustCopies returns the copies of identity certificates of a purpose in a store, without their DER.
	TrustCopies(ctx context.Context, store, purpose string) ([]Trust, error)
	// TrustAll returns the certificates of a store with their DER.
	TrustAll(ctx context.Context, store string) ([]Trust, error)
	// Subject returns the subject settings of a node, and false when none were made.
	Subject(ctx context.Context, node string) (Subject, bool, error)
	// History returns the latest events, the latest first, at most limit (0: all that are kept).
	History(ctx context.Context, limit int) ([]Event, error)
}

// Change is what Store.Apply does, in the order of the fields.
type Change struct {
	Revision int64     // that the change was made for
	At       time.Time // of the change, zero for now: events, Since, Added and Created take it when they are zero

	// DropRequests take requests and their keys away; their hashes are remembered. One that is not there is an error.
	DropRequests []Place
	// AddRequests add requests with their keys in the place of those that are there, which are remembered.
	AddRequests []NewRequest
	// Install puts identity certificates into service. What they replace becomes a generation.
	Install []Install
	// DropTrust takes trust certificates away. One that is not there is an error.
	DropTrust []TrustPlace
	// AddTrust adds trust certificates. One that is there already, in the same store, on the same node and octet by octet,
	// is left as it is.
	AddTrust []Trust
	// Subjects set the subject settings of nodes.
	Subjects []Subject
	// Events are added to the history, of which at least the last EventsKept are kept and at most twice as many.
	Events []Event
	// ForgetBefore ends generations that were replaced before this time, with their keys; zero ends none.
	ForgetBefore time.Time
}

// Place is where a request is.
type Place struct{ Purpose, Node string }

// NewRequest is a request with its key.
type NewRequest struct {
	Request
	Key []byte // PKCS #8
}

// Install puts a certificate with its key on nodes.
type Install struct {
	Identity          // of which Node is not looked at
	Nodes    []string // at least one
	// Key is the key in PKCS #8, for a self-signed certificate. Without it the key is taken from the request at From, which
	// is consumed and not remembered: it is an error when there is none, or when its key is not that of the certificate.
	// Requests elsewhere go on waiting. One of Key and From is given.
	Key  []byte
	From *Place
}

// TrustPlace is where a trust certificate is.
type TrustPlace struct{ Store, Node, SHA256 string }
