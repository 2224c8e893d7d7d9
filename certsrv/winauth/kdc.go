package winauth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jcmturner/gokrb5/v8/crypto"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/iana/keyusage"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/iana/patype"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

const (
	maxReply = 1 << 20 // octets of a KDC's answer; a ticket with a large PAC has some ten thousand
	maxSkew  = 5 * time.Minute
	// maxIterations bounds the work that a KDC can ask for to turn a password into a key; 4096 are usual (RFC 3962), 32768
	// with SHA-2 (RFC 8009).
	maxIterations = 1 << 20
)

// fetch asks the KDC for a ticket for a service, and for one that gives tickets where none is kept.
func (k *Kerberos) fetch(ctx context.Context, spn string) (*ticket, error) {
	k.mu.Lock()
	tgt := k.tgt
	k.mu.Unlock()
	if !tgt.fresh(time.Now()) {
		var err error
		if tgt, err = k.logon(ctx); err != nil {
			return nil, err
		}
		k.mu.Lock()
		if k.life.Err() == nil {
			k.tgt = tgt
		}
		k.mu.Unlock()
	}
	service := types.NewPrincipalName(nametype.KRB_NT_SRV_INST, spn)
	_, host, _ := strings.Cut(spn, "/")
	realm := k.user.realm
	if r := k.conf.ResolveRealm(strings.ToLower(host)); r != "" && r != realm {
		var err error
		if tgt, err = k.grant(ctx, tgt, realm, krbtgt(r)); err != nil {
			return nil, err
		}
		realm = r
	}
	t, err := k.grant(ctx, tgt, realm, service)
	if err != nil || !isReferral(t.ticket.SName, service) {
		return t, err
	}
	// The KDC knows that another realm, which it trusts, has the service (RFC 6806 section 8).
	realm = t.ticket.SName.NameString[1]
	if t, err = k.grant(ctx, t, realm, service); err == nil && isReferral(t.ticket.SName, service) {
		return nil, &Error{
			Kind: KindUnknownService, Phase: PhaseLogin,
			Err: fmt.Errorf("the KDC of %s sends on to %s for the service %s", realm, t.ticket.SName.PrincipalNameString(), spn),
			fix: "use an account of the realm of the web server: its realm is more than one trust away",
		}
	}
	return t, err
}

func krbtgt(realm string) types.PrincipalName {
	return types.PrincipalName{NameType: nametype.KRB_NT_SRV_INST, NameString: []string{"krbtgt", realm}}
}

func isReferral(got, asked types.PrincipalName) bool {
	return len(got.NameString) == 2 && got.NameString[0] == "krbtgt" && !got.Equal(asked)
}

// logon is the AS exchange (RFC 4120 section 3.1). The key of the account is used once: a wrong one counts as one wrong
// password.
func (k *Kerberos) logon(ctx context.Context) (*ticket, error) {
	req, err := messages.NewASReqForTGT(k.user.realm, k.conf, k.user.name)
	if err != nil {
		return nil, k.broken("", err)
	}
	reply, kdc, err := k.ask(ctx, k.user.realm, req.Marshal)
	var refused *kdcError
	if errors.As(err, &refused) && refused.ErrorCode == errorcode.KDC_ERR_PREAUTH_REQUIRED {
		var padata types.PADataSequence
		if err := padata.Unmarshal(refused.EData); err != nil {
			return nil, k.broken(kdc, errors.New("KDC wants pre-authentication and does not say which"))
		}
		key, kvno, err := k.accountKey(kdc, padata, req.ReqBody.EType, 0)
		if err != nil {
			return nil, err
		}
		if err := preauthenticate(&req, key, kvno); err != nil {
			return nil, k.broken(kdc, err)
		}
		reply, kdc, err = k.ask(ctx, k.user.realm, req.Marshal)
		if err != nil {
			return nil, k.explain(err, kdc, "")
		}
	} else if err != nil {
		return nil, k.explain(err, kdc, "")
	}
	var rep messages.ASRep
	if err := rep.Unmarshal(reply); err != nil {
		return nil, k.broken(kdc, errors.New("answer of the KDC is no AS-REP"))
	}
	key, _, err := k.accountKey(kdc, rep.PAData, []int32{rep.EncPart.EType}, rep.EncPart.KVNO)
	if err != nil {
		return nil, err
	}
	part, err := decryptReply(rep.EncPart, key, keyusage.AS_REP_ENCPART)
	if err != nil {
		return nil, k.wrongSecret(kdc, err)
	}
	return k.accept(kdc, rep.KDCRepFields, part, req.ReqBody)
}

// preauthenticate adds the time under the key of the account (RFC 4120 section 5.2.7.2).
func preauthenticate(req *messages.ASReq, key types.EncryptionKey, kvno int) error {
	now, err := types.GetPAEncTSEncAsnMarshalled()
	if err != nil {
		return err
	}
	sealed, err := crypto.GetEncryptedData(now, key, keyusage.AS_REQ_PA_ENC_TIMESTAMP, kvno)
	if err != nil {
		return err
	}
	value, err := sealed.Marshal()
	if err != nil {
		return err
	}
	req.PAData = append(req.PAData, types.PAData{PADataType: patype.PA_ENC_TIMESTAMP, PADataValue: value})
	return nil
}

// grant is the TGS exchange (RFC 4120 section 3.3) with the KDC of a realm, for which tgt is.
func (k *Kerberos) grant(ctx context.Context, tgt *ticket, realm string, service types.PrincipalName) (*ticket, error) {
	conf := *k.conf
	conf.LibDefaults.Canonicalize = true // Active Directory refers to other realms only when asked to
	req, err := messages.NewTGSReq(tgt.client.name, realm, &conf, tgt.ticket, tgt.key, service, false)
	if err != nil {
		return nil, k.broken("", err)
	}
	reply, kdc, err := k.ask(ctx, realm, req.Marshal)
	if err != nil {
		return nil, k.explain(err, kdc, service.PrincipalNameString())
	}
	var rep messages.TGSRep
	if err := rep.Unmarshal(reply); err != nil {
		return nil, k.broken(kdc, errors.New("answer of the KDC is no TGS-REP"))
	}
	part, err := decryptReply(rep.EncPart, tgt.key, keyusage.TGS_REP_ENCPART_SESSION_KEY)
	if err != nil {
		return nil, k.broken(kdc, err)
	}
	return k.accept(kdc, rep.KDCRepFields, part, req.ReqBody)
}

// accept compares a reply, whose decrypted part only the KDC could write, with the request (RFC 4120 sections 3.1.5 and
// 3.3.4).
func (k *Kerberos) accept(kdc string, rep messages.KDCRepFields, part messages.EncKDCRepPart, req messages.KDCReqBody) (*ticket, error) {
	switch {
	case part.Nonce != req.Nonce:
		return nil, k.broken(kdc, errors.New("answer of the KDC is not for our request"))
	case !rep.CName.Equal(req.CName) || rep.CRealm != k.user.realm:
		return nil, k.broken(kdc, fmt.Errorf("answer of the KDC is for %s@%s", rep.CName.PrincipalNameString(), rep.CRealm))
	case !part.SName.Equal(rep.Ticket.SName) || len(part.SName.NameString) == 0:
		return nil, k.broken(kdc, errors.New("answer of the KDC names another service than its ticket"))
	case !part.SName.Equal(req.SName) && !isReferral(part.SName, req.SName):
		return nil, k.broken(kdc, fmt.Errorf("answer of the KDC is for the service %s", part.SName.PrincipalNameString()))
	}
	now, from := time.Now(), part.StartTime
	if from.IsZero() {
		from = part.AuthTime
	}
	// A fresh ticket begins now, by the clock of the KDC.
	if d := from.Sub(now); d > maxSkew {
		return nil, k.skewed(kdc, "KDC "+kdc, from, now)
	}
	if !now.Before(part.EndTime) {
		return nil, k.skewed(kdc, "KDC "+kdc, from, now)
	}
	return &ticket{ticket: rep.Ticket, key: part.Key, client: principal{rep.CName, rep.CRealm}, from: now, until: part.EndTime}, nil
}

// accountKey makes the account's key of an encryption type that the KDC names (RFC 4120 section 5.2.7.5) and we allow. kvno
// is the version that the KDC used, 0 when it does not say.
func (k *Kerberos) accountKey(kdc string, padata types.PADataSequence, allowed []int32, kvno int) (types.EncryptionKey, int, error) {
	var infos types.ETypeInfo2
	for _, pa := range padata {
		if pa.PADataType == patype.PA_ETYPE_INFO2 {
			var err error
			if infos, err = pa.GetETypeInfo2(); err != nil {
				return types.EncryptionKey{}, 0, k.broken(kdc, errors.New("KDC names its encryption types in a malformed way"))
			}
		}
	}
	if len(infos) == 0 { // no preference, and the salt that follows from the name
		for _, id := range allowed {
			infos = append(infos, types.ETypeInfo2Entry{EType: id, Salt: k.user.name.GetSalt(k.user.realm)})
		}
	}
	var offered []string
	for _, info := range infos {
		offered = append(offered, encryptionName(info.EType))
		if !slices.Contains(allowed, info.EType) {
			continue
		}
		if !k.c.Keytab.IsZero() {
			if key, version, ok := k.c.Keytab.key(k.user, info.EType, kvno); ok {
				return key, version, nil
			}
			continue
		}
		key, err := passwordKey(k.c.Password, info)
		if err != nil {
			return types.EncryptionKey{}, 0, k.broken(kdc, err)
		}
		return key, 0, nil
	}
	e := &Error{Kind: KindNoEncryption, Phase: PhaseLogin, User: k.user.String(), KDC: kdc}
	e.Err = fmt.Errorf("the KDC offers %s for the account, we allow %s", strings.Join(offered, ", "), encryptionNames(allowed))
	if !k.c.Keytab.IsZero() {
		e.Kind = KindKeytab
		e.Err = fmt.Errorf("the keytab has no key of %s for %s", k.user, strings.Join(offered, ", "))
		if kvno != 0 {
			e.Err = fmt.Errorf("the keytab has key versions %v of %s, the KDC uses version %d", k.c.Keytab.versions(k.user), k.user, kvno)
		}
	}
	return types.EncryptionKey{}, 0, e
}

// passwordKey turns a password into a key.
func passwordKey(p Password, info types.ETypeInfo2Entry) (types.EncryptionKey, error) {
	et, err := crypto.GetEtype(info.EType)
	if err != nil {
		return types.EncryptionKey{}, err
	}
	params := et.GetDefaultStringToKeyParams()
	if n := len(info.S2KParams); n == 4 {
		if i := binary.BigEndian.Uint32(info.S2KParams); i == 0 || i > maxIterations {
			return types.EncryptionKey{}, fmt.Errorf("KDC wants %d rounds to make a key of a password", i)
		}
		params = fmt.Sprintf("%x", info.S2KParams)
	} else if n != 0 {
		return types.EncryptionKey{}, errors.New("KDC says in a malformed way how to make a key of a password")
	}
	value, err := et.StringToKey(p.reveal(), info.Salt, params)
	if err != nil {
		return types.EncryptionKey{}, errors.New("no key can be made of the password")
	}
	return types.EncryptionKey{KeyType: info.EType, KeyValue: value}, nil
}

// decrypt opens what a peer has encrypted. The library takes lengths for granted.
func decrypt(d types.EncryptedData, key types.EncryptionKey, usage uint32) ([]byte, error) {
	et, err := crypto.GetEtype(key.KeyType)
	if err != nil {
		return nil, err
	}
	if d.EType != key.KeyType || len(key.KeyValue) != et.GetKeyByteSize() {
		return nil, errors.New("encrypted with another kind of key")
	}
	if len(d.Cipher) <= et.GetConfounderByteSize()+et.GetHMACBitLength()/8 {
		return nil, errors.New("encrypted data is too short")
	}
	return crypto.DecryptEncPart(d, key, usage)
}

func decryptReply(d types.EncryptedData, key types.EncryptionKey, usage uint32) (messages.EncKDCRepPart, error) {
	var part messages.EncKDCRepPart
	b, err := decrypt(d, key, usage)
	if err != nil {
		return part, err
	}
	if err := part.Unmarshal(b); err != nil {
		return part, errors.New("decrypted part of the KDC's answer is malformed")
	}
	if et, err := crypto.GetEtype(part.Key.KeyType); err != nil || len(part.Key.KeyValue) != et.GetKeyByteSize() {
		return part, errors.New("KDC gave a session key of an unknown kind")
	}
	return part, nil
}

// kdcError is a KRB-ERROR.
type kdcError struct{ messages.KRBError }

// unreachable tells why no KDC of a realm answered.
type unreachable struct {
	realm string
	tried []string
	err   error
}

func (u *unreachable) Error() string {
	if len(u.tried) == 0 {
		return fmt.Sprintf("no KDC of realm %s is known: %v", u.realm, u.err)
	}
	return fmt.Sprintf("no KDC of realm %s answers (%s): %v", u.realm, strings.Join(u.tried, ", "), u.err)
}

func (u *unreachable) Unwrap() error { return u.err }

// ask sends a request to the first KDC of a realm that answers, and returns the answer and who gave it. The error is
// *kdcError or *unreachable.
func (k *Kerberos) ask(ctx context.Context, realm string, marshal func() ([]byte, error)) ([]byte, string, error) {
	request, err := marshal()
	if err != nil {
		return nil, "", err
	}
	kdcs, err := k.kdcs(ctx, realm)
	if err != nil {
		return nil, "", &unreachable{realm: realm, err: err}
	}
	u := &unreachable{realm: realm}
	var busy *kdcError
	for _, kdc := range kdcs {
		if ctx.Err() != nil {
			break
		}
		u.tried = append(u.tried, kdc)
		reply, err := k.exchange(ctx, kdc, request)
		if err != nil {
			u.err = err
			continue
		}
		refused, is := asRefusal(reply)
		if !is {
			return reply, kdc, nil
		}
		if refused.ErrorCode == errorcode.KDC_ERR_SVC_UNAVAILABLE && kdc != kdcs[len(kdcs)-1] {
			busy = refused
			continue
		}
		return nil, kdc, refused
	}
	if busy != nil {
		return nil, u.tried[0], busy
	}
	if err := ctx.Err(); err != nil {
		u.err = err
	}
	return nil, strings.Join(u.tried, ", "), u
}

// kdcs returns the KDCs of a realm: configured ones, those of krb5.conf, or those of DNS.
func (k *Kerberos) kdcs(ctx context.Context, realm string) ([]string, error) {
	if realm == k.c.Realm && len(k.c.KDCs) > 0 {
		return k.c.KDCs, nil
	}
	for _, r := range k.conf.Realms {
		if r.Realm == realm && len(r.KDC) > 0 {
			return r.KDC, nil
		}
	}
	lookup := k.c.LookupSRV
	if lookup == nil {
		lookup = net.DefaultResolver.LookupSRV
	}
	ctx, cancel := context.WithTimeout(ctx, k.timeout())
	defer cancel()
	_, records, err := lookup(ctx, "kerberos", "tcp", realm)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, r := range records {
		if host := strings.TrimSuffix(r.Target, "."); host != "" {
			out = append(out, net.JoinHostPort(host, strconv.Itoa(int(r.Port))))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("DNS has no _kerberos._tcp.%s", realm)
	}
	return out, nil
}

func (k *Kerberos) timeout() time.Duration {
	if k.c.Timeout > 0 {
		return k.c.Timeout
	}
	return DefaultKDCTimeout
}

// exchange sends a request by TCP, which has no limit of length, and reads the answer (RFC 4120 section 7.2.2).
func (k *Kerberos) exchange(ctx context.Context, kdc string, request []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout())
	defer cancel()
	dial := k.c.DialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", kdc)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(request))), request...)); err != nil {
		return nil, err
	}
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > maxReply {
		return nil, fmt.Errorf("answer of %d octets", n)
	}
	reply := make([]byte, n)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, err
	}
	return reply, nil
}
