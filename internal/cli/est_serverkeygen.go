package cli

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"callsign/est"
)

func (e *env) estServerKeygen() *cobra.Command {
	o := estOrder{estFlags: estFlags{env: e}}
	cmd := &cobra.Command{
		Use: "serverkeygen URL", Short: "Get a key that the server makes, with its certificate", Args: exactlyOne("URL of an EST server"),
		Long: `Get a private key that the EST server makes, and its certificate (serverkeygen, RFC 7030 section 4.4). A key that is made where it is
used, by callsign est enroll, is known to nobody else: this is for devices that cannot make good keys.

With --encrypt the key comes encrypted to the certificate of --cert, which has an RSA key, and not only within TLS. The request is signed
with a key of its own, which says what kind of key is wanted; it waits in PREFIX.request.key until the certificate is there, because the
server knows the request by it.`,
		Example: `  callsign est serverkeygen https://ra.example.com:8084 --ca est-ca.pem --user device --subject CN=sensor1 --key-type p-256 --out sensor1
  callsign est serverkeygen https://ra.example.com:8084 --ca est-ca.pem --cert mic.pem --key mic.key --encrypt --subject CN=sensor1 --out sensor1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.open(cmd, args); err != nil {
				return err
			}
			o.what = fmt.Sprintf("EST serverkeygen for %s at %s", o.name(), o.url)
			return o.obtainKey(cmd.Context())
		},
	}
	o.serverFlags(cmd)
	o.clientFlags(cmd)
	o.outFlags(cmd)
	o.nameFlags(cmd)
	cmd.Flags().BoolVar(&o.encrypt, "encrypt", false, "have the key encrypted to the certificate of --cert")
	return waitExits(cmd)
}

// requestKey marks the key that a request for another key is signed with.
const requestKey = ".request.key"

// obtainKey gets a key with its certificate and writes them.
func (o *estOrder) obtainKey(ctx context.Context) error {
	var recipient *rsa.PrivateKey
	if o.encrypt {
		var ok bool
		if o.pair == nil {
			return usage(errors.New("--encrypt needs --cert FILE and --key FILE: the key is encrypted to that certificate"))
		}
		if recipient, ok = o.pair.Key.(*rsa.PrivateKey); !ok {
			return usage(fmt.Errorf("--encrypt needs a certificate with an RSA key, and %s has another", o.cert))
		}
		o.wish.EncryptTo = o.pair.Leaf()
	}
	final := pairFiles{cert: o.out + ".pem", key: o.out + ".key"}
	for _, path := range []string{final.cert, final.key} {
		if err := mayCreate(path, o.force); err != nil {
			return err
		}
	}
	o.files = final
	o.files.keyNow = o.out + requestKey
	o.files.waiting = isThere(o.files.keyNow)
	client, err := o.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := o.askAttributes(ctx, client); err != nil {
		return err
	}
	if err := o.takeKey(); err != nil {
		return err
	}
	made, err := est.Poll(ctx, o.wait, o.pausing, func(ctx context.Context) (*est.ServerKey, error) {
		if o.linkd {
			return client.ServerKeygenLinked(ctx, func(l est.Links) ([]byte, error) { return o.request(l.Best()) }, recipient)
		}
		csr, err := o.request("")
		if err != nil {
			return nil, err
		}
		return client.ServerKeygen(ctx, csr, recipient)
	})
	if err != nil {
		return o.unfinished(ctx, err)
	}
	waited := o.files.keyNow
	if err := o.files.finish(made.Certificate, made.Key); err != nil {
		return err
	}
	if err := os.Remove(waited); err != nil {
		o.env.warn(fmt.Sprintf("%s is of no use any more, and could not be removed: %v", waited, err))
	}
	if made.Encrypted && made.Signer != nil {
		o.env.hint("the key came encrypted, signed by %s\n", visible(made.Signer.Subject.String()))
	}
	return o.printIssued(made.Certificate)
}
