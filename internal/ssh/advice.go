package ssh

import (
	"errors"
	"strings"
)

// Advice parts the text of an error of Dial into what is wrong and what to do
// about it. The advice is empty where the error has none.
func Advice(err error) (problem, advice string) {
	var advised interface {
		error
		Problem() string
		Advice() string
	}
	if !errors.As(err, &advised) {
		return err.Error(), ""
	}
	return strings.Replace(err.Error(), advised.Error(), advised.Problem(), 1), advised.Advice()
}
