package est

// DecodeBody is decodeBody for tests.
func DecodeBody(body []byte) ([]byte, error) {
	der, _, err := decodeBody(body)
	return der, err
}

// ParseKeyAnswer is parseKeyAnswer for tests.
var ParseKeyAnswer = parseKeyAnswer
