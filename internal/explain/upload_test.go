package explain

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// uploadCodes are the codes of the checks of an upload, which no other list in this package tells: refusals in the order of
// the checks, then warnings.
var uploadCodes = strings.Fields(`TOO_LARGE PRIVATE_KEY_IN_FILE IS_REQUEST INVALID_FILE BAD_PURPOSE MULTIPLE_IDENTITY NO_IDENTITY
	KEY_TYPE CSR_MISSING CSR_KEY_MISMATCH SELF_SIGNED_UPLOAD CERT_EXPIRED CERT_NOT_YET_VALID WILDCARD CSR_SAN_MISMATCH
	UNKNOWN_CRITICAL WEAK_SIGNATURE CA_NOT_IN_TRUST CA_EXPIRED BAD_SIGNATURE CAPF_NOT_CA TRUST_OLDER
	SUBJECT_CHANGED WEAK_KEY EXPIRES_SOON KU_ABSENT KU_MISSING EKU_ABSENT EKU_MISSING TWIN_SELF_SIGNED NODE_NOT_IN_SAN
	RSA_OVER_2048_CALLMANAGER CRITICAL_EXTENSION NEVER_TOGETHER CHAIN_NOT_STORED ISSUER_NOT_IN_TRUST NOT_A_CA
	SAME_CN_OTHER_SUBJECT NO_NAMES CN_NOT_IN_NAMES PRESENCE_NODES TOMCAT_NOT_RUNNING FIPS_KEY CAPF_PATH_LENGTH`)

// TestUploadCodes: every code has its entry, which is found in any case. Three differ from a chain fault in case alone:
// in lower case they are that.
func TestUploadCodes(t *testing.T) {
	t.Parallel()
	var got []string
	entries := Entries()
	for i := range entries {
		if entries[i].Family == FamilyUpload {
			got = append(got, entries[i].Code)
		}
	}
	if diff := cmp.Diff(uploadCodes, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, code := range uploadCodes {
		lower := code
		if fault := strings.ToLower(code); slices.Contains(faults, fault) {
			lower = fault
		}
		for query, want := range map[string]string{
			code: code, " " + code + "\n": code, strings.ToLower(code): lower, `level=WARN msg="upload refused" code=` + code + " file=x": code,
		} {
			if m := Lookup(query); len(m) != 1 || m[0].Entry.Code != want {
				t.Errorf("%q leads to %v, want %s", query, summary(query), want)
			}
		}
	}
}

// TestUploadDetails: a code is found with what stands behind its colon.
func TestUploadDetails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, code string }{
		{"KU_MISSING:dataEncipherment", "KU_MISSING"},
		{"KU_MISSING:keyCertSign", "KU_MISSING"},
		{"EKU_MISSING:clientAuth", "EKU_MISSING"},
		{"EKU_MISSING:ipsecEndSystem", "EKU_MISSING"},
		{"NODE_NOT_IN_SAN:cucm-sub2.lab.example.com", "NODE_NOT_IN_SAN"},
		{"NEVER_TOGETHER:CallManager-ECDSA", "NEVER_TOGETHER"},
		{"WEAK_KEY:x", "WEAK_KEY"}, // not the chain fault, which has no details
	} {
		for query, want := range map[string]string{
			tc.name: tc.name, strings.ToUpper(tc.code) + strings.ToLower(tc.name[len(tc.code):]): "", strings.ToLower(tc.name): "",
			"warning: " + tc.name + ".": "", `"code":"` + tc.name + `"`: "",
		} {
			m := Lookup(query)
			if len(m) == 0 || m[0].Entry.Code != tc.code {
				t.Errorf("%q leads to %v, want %s", query, summary(query), tc.code)
			} else if want != "" && (m[0].Name != want || !m[0].Exact || len(m) != 1) {
				t.Errorf("%q is named %q, want %q", query, m[0].Name, want)
			}
		}
	}
	for _, query := range []string{"unknown_issuer:x", "20:unable", ":clientAuth", "clientAuth", "UPLOAD:clientAuth"} {
		if m := Lookup(query); len(m) > 0 && m[0].Entry.Family == FamilyUpload {
			t.Errorf("%q leads to %v", query, summary(query))
		}
	}
}

// TestUploadMessages: what the call manager says and what we say leads to the code first, however a document writes it.
func TestUploadMessages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ message, want string }{
		{"The file is larger than 1 MiB", "TOO_LARGE"},
		{"The file holds more than 50 certificates", "TOO_LARGE"},
		{"The file contains a private key; upload the certificate only", "PRIVATE_KEY_IN_FILE"},
		{"The file is a certificate signing request, not a certificate", "IS_REQUEST"},
		{"Invalid certificate file provided", "INVALID_FILE"},
		{"Certificate is not in PEM format", "INVALID_FILE"},
		{"Error occurred while reading the certificate", "INVALID_FILE"},
		{"Error in CA certificate", "INVALID_FILE"},
		{"Certificate Upload failed", "INVALID_FILE"},
		{"Certificate upload failed: CA certificate is not available in the trust-store", "CA_NOT_IN_TRUST"},
		{"Invalid certificate type found", "BAD_PURPOSE"},
		{"The file contains more than one identity certificate", "MULTIPLE_IDENTITY"},
		{"The file contains only CA certificates; upload it as CallManager-trust", "NO_IDENTITY"},
		{"Key type EC does not fit certificate purpose tomcat, which needs RSA", "KEY_TYPE"},
		{"File /usr/local/platform/.security/tomcat/keys/tomcat.csr does not exist", "CSR_MISSING"},
		{"File /usr/local/platform/.security/CallManager-ECDSA/keys/CallManager-ECDSA.csr does not exist", "CSR_MISSING"},
		{"File /usr/local/cm/.security/certs/ipsec.csr does not exist", "CSR_MISSING"},
		{"File 'tomcat.csr' does not exist", "CSR_MISSING"},
		{"The file /usr/local/platform/upload/certs//tomcat.der could not be uploaded.", "CSR_MISSING"},
		{"The file '/var/upload/CAPF.der' could not be uploaded", "CSR_MISSING"},
		{"Unable to upload the file tomcat.der", "CSR_MISSING"},
		{"CSR public key and Certificate public key does not match", "CSR_KEY_MISMATCH"},
		{"CSR Public Key and Certificate Public Key Do Not Match", "CSR_KEY_MISMATCH"},
		{"A self-signed certificate cannot replace tomcat; use Regenerate", "SELF_SIGNED_UPLOAD"},
		{"Certificate has expired: 2026-11-19T00:00:00Z", "CERT_EXPIRED"},
		{"Certificate is not yet valid: 2027-01-01T00:00:00Z", "CERT_NOT_YET_VALID"},
		{"Certificates with a wildcard entry are not supported: *.lab.example.com", "WILDCARD"},
		{"CSR SAN and Certificate SAN does not match", "CSR_SAN_MISMATCH"},
		{"CSR SAN and Certificate SAN do not match", "CSR_SAN_MISMATCH"},
		{"Unknown critical extension 1.3.6.1.4.1.99999.1", "UNKNOWN_CRITICAL"},
		{"Signature algorithm SHA1-RSA is not accepted", "WEAK_SIGNATURE"},
		{"CA certificate is not available in the trust-store", "CA_NOT_IN_TRUST"},
		{"CA certificate is not available in the trust store", "CA_NOT_IN_TRUST"},
		{"CA certificate in the trust-store has expired: Lab Twin CA, valid to 2026-06-30T00:00:00Z", "CA_EXPIRED"},
		{"Certificate signature does not verify with the key of its issuer: Lab Intermediate CA 1", "BAD_SIGNATURE"},
		{"A CAPF certificate needs Basic Constraints CA:TRUE and Key Usage Certificate Sign", "CAPF_NOT_CA"},
		{"Not replaced: the certificate in tomcat-trust with common name Lab Replace CA has the same or a later start date (2025-01-01T00:00:00Z); delete it first", "TRUST_OLDER"},
		{"Unable to generate CSR for the given certificate type", "cluster.no-csr"},
		{"Warning: Certificate names not listed below do not have a corresponding CSR", "cluster.no-request"},
		{"You are about to permanently delete this certificate. It may break a certificate chain.", "cluster.certificate-in-use"},
	} {
		t.Run(tc.message, func(t *testing.T) {
			t.Parallel()
			for _, query := range []string{
				tc.message, strings.ToUpper(tc.message), strings.ToLower(tc.message), "\u201C" + tc.message + "\u201D", "'" + tc.message + "'",
				"Error: " + tc.message + " [Close]", strings.ReplaceAll(tc.message, " ", "  "), strings.ReplaceAll(tc.message, " ", "\u00a0"),
				"Status\n" + tc.message + "\nUpload Certificate/Certificate chain",
			} {
				if m := Lookup(query); len(m) == 0 || m[0].Entry.Code != tc.want {
					t.Errorf("%q leads to %v, want %s first", query, summary(query), tc.want)
				}
			}
		})
	}
	// Older releases have one message for two codes: both are named.
	want := []string{"CSR_MISSING", "CSR_KEY_MISMATCH"}
	if diff := cmp.Diff(want, summary("The file /usr/local/platform/upload/certs//tomcat.der could not be uploaded.")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
