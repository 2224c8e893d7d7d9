package fleet

// The vendor's traces and database show a value as NAME:NUMBER. Here it is for those who show our values to people that
// know the vendor's.

// VendorValue returns the mode in the vendor's form, e.g. "AUTH_BY_NULL_STR:2".
func (m AuthMode) VendorValue() string { return vendorAuth(m) }

// VendorValue returns the key order in the vendor's form, e.g. "KEYORDER_EC_PREFERRED:3".
func (k KeyOrder) VendorValue() string { return vendorKeyOrder(k) }

// VendorRSABits returns the size of RSA keys in the vendor's form, e.g. "KEY_SIZE_2048:3"; empty for a size that cannot be asked for.
func VendorRSABits(bits int) string { return vendorRSASize(bits) }

// VendorECBits returns the size of EC keys in the vendor's form, e.g. "EC_KEY_SIZE_384:384", and "INVALID:0" where no EC key is asked for.
func VendorECBits(o KeyOrder, bits int) string { return vendorECSize(o, bits) }
