package capf

import "fmt"

// maxDeviceName bounds a device name; the longest in the field have 15 characters.
const maxDeviceName = 128

// fill reads AUTH_RESPONSE.
func (c *Caller) fill(m Message) error {
	if r, ok := m.Reason(); ok && r != ReasonUpdateCertificate {
		return &PhoneError{Command: m.Command, Reason: r, Info: m.info()}
	}
	name, ok := m.Element(TagDeviceName)
	if !ok {
		return missing(m, TagDeviceName)
	}
	name = trimNUL(name)
	if err := checkDeviceName(name); err != nil {
		return err
	}
	c.Device = string(name)
	version, ok := m.Uint8(TagVersion)
	switch {
	case !ok:
		return missing(m, TagVersion)
	case version == 0:
		return problemf(CodeBadElement, "protocol version 0")
	}
	c.Version = min(version, ProtocolVersion)
	if s, ok := m.Element(TagPassword); ok {
		c.String = Secret(trimNUL(s))
	}
	credential, err := credentialOf(m)
	c.Credential = credential
	return err
}

// checkDeviceName refuses what cannot be a device name and would make log lines and file names ambiguous.
func checkDeviceName(name []byte) error {
	if len(name) == 0 || len(name) > maxDeviceName {
		return problemf(CodeBadElement, "device name of %d bytes", len(name))
	}
	for _, b := range name {
		if b <= 0x20 || b > 0x7e {
			return &ProtocolError{ErrCode: CodeBadElement, Detail: fmt.Sprintf("device name %q has characters that no device name has", name)}
		}
	}
	return nil
}

// credentialOf gathers the elements of certificate authentication; nil when there are none.
func credentialOf(m Message) (*Credential, error) {
	var c Credential
	found := false
	if v, ok := m.Element(TagCertificate); ok {
		entries, err := ParseCertificatePackage(v)
		if err != nil {
			return nil, err
		}
		// A phone shows one certificate only, and its type is not to be relied on.
		c.Certificate, found = entries[0].DER, true
	}
	for tag, field := range map[Tag]*[]byte{
		TagSignedData: &c.SignedData, TagSHA2SignedData: &c.SHA2SignedData, TagSUDIData: &c.SUDIData,
	} {
		if v, ok := m.Element(tag); ok {
			*field, found = v, true
		}
	}
	if !found {
		return nil, nil //nolint:nilnil // no credential is the usual case
	}
	return &c, nil
}
