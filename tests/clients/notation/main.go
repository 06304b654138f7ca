// Command notation-verify does what "notation verify --insecure-registry REFERENCE" does, with the library
// that the notation CLI is made of: by the trust policy and the trust store in the user's configuration
// folder. It prints the descriptor of the artifact that is verified and the attributes that were signed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/verifier"
	"oras.land/oras-go/v2/registry/remote"
)

func main() {
	if err := verify(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func verify(reference string) error {
	repository, err := remote.NewRepository(reference)
	if err != nil {
		return err
	}
	repository.PlainHTTP = true
	// Policies know artifacts by their digests: a tag is resolved first.
	named, err := repository.Resolve(context.Background(), repository.Reference.Reference)
	if err != nil {
		return err
	}
	artifact := repository.Reference
	artifact.Reference = named.Digest.String()
	byPolicy, err := verifier.NewFromConfig()
	if err != nil {
		return err
	}
	target, outcomes, err := notation.Verify(context.Background(), byPolicy, registry.NewRepository(repository),
		notation.VerifyOptions{ArtifactReference: artifact.String(), MaxSignatureAttempts: 100})
	if err != nil {
		return err
	}
	signer := outcomes[0].EnvelopeContent.SignerInfo
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"target":      target,
		"subject":     signer.CertificateChain[0].Subject.String(),
		"signingTime": signer.SignedAttributes.SigningTime,
		"expiry":      signer.SignedAttributes.Expiry,
		"extended":    signer.SignedAttributes.ExtendedAttributes,
	})
}
