package cluster

// The answers of a node's command line to the commands that do the same there, word for word, for those who know them and for
// scripts that look for them.

// AnswerGenerated is the answer to set csr gen.
func AnswerGenerated(purposeName string) string {
	return "Successfully Generated CSR for " + purposeName + "."
}

// AnswerImported is the answer to set cert import; identity is false for a trust store, of which no service has to be restarted by itself.
func AnswerImported(purposeName string, identity bool) string {
	text := "Successfully imported certificate for " + purposeName + "."
	if identity {
		text += "\nPlease restart services related to " + purposeName + " for the new certificate to become active."
	}
	return text
}

// AnswerRegenerated is the answer to set cert regen.
func AnswerRegenerated(purposeName string) string {
	return "Successfully regenerated certificate for " + purposeName + "."
}

// Answer is the row as show cert list and show csr list print it: "tomcat/tomcat.pem: Certificate Signed by Lab CA",
// "tomcat/tomcat.csr".
func (r *Row) Answer() string {
	if r.Type == TypeCSROnly {
		return r.Certificate + "/" + r.Certificate + ".csr"
	}
	return r.Certificate + "/" + r.FileName() + ": " + r.Description
}
