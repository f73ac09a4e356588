package recipes_test

import (
	"bytes"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The types below are what the operators' custom resource definitions say, as far as the recipes use it. Decoding is
// strict: a field that is not in them is a mistake, or must be looked up there.
type manifest[Spec any] struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name      string `yaml:"name"`
		Namespace string `yaml:"namespace"`
	} `yaml:"metadata"`
	Spec Spec `yaml:"spec"`
}

type vsoConnection struct {
	Address       string `yaml:"address"`
	SkipTLSVerify *bool  `yaml:"skipTLSVerify"`
}

type vsoAuth struct {
	VaultConnectionRef string `yaml:"vaultConnectionRef"`
	Method             string `yaml:"method"`
	Mount              string `yaml:"mount"`
	Kubernetes         struct {
		Role           string   `yaml:"role"`
		ServiceAccount string   `yaml:"serviceAccount"`
		Audiences      []string `yaml:"audiences"`
	} `yaml:"kubernetes"`
}

type vsoDynamicSecret struct {
	VaultAuthRef     string `yaml:"vaultAuthRef"`
	Mount            string `yaml:"mount"`
	Path             string `yaml:"path"`
	AllowStaticCreds bool   `yaml:"allowStaticCreds"`
	Destination      struct {
		Name           string `yaml:"name"`
		Create         bool   `yaml:"create"`
		Transformation struct {
			ExcludeRaw bool     `yaml:"excludeRaw"`
			Includes   []string `yaml:"includes"`
		} `yaml:"transformation"`
	} `yaml:"destination"`
	RolloutRestartTargets []struct {
		Kind string `yaml:"kind"`
		Name string `yaml:"name"`
	} `yaml:"rolloutRestartTargets"`
}

type esoDynamicSecret struct {
	Path       string `yaml:"path"`
	Method     string `yaml:"method"`
	ResultType string `yaml:"resultType"`
	Provider   struct {
		Server string `yaml:"server"`
		Auth   struct {
			Kubernetes struct {
				MountPath         string `yaml:"mountPath"`
				Role              string `yaml:"role"`
				ServiceAccountRef struct {
					Name      string   `yaml:"name"`
					Audiences []string `yaml:"audiences"`
				} `yaml:"serviceAccountRef"`
			} `yaml:"kubernetes"`
		} `yaml:"auth"`
	} `yaml:"provider"`
}

type esoExternalSecret struct {
	RefreshInterval string `yaml:"refreshInterval"`
	Target          struct {
		Name     string `yaml:"name"`
		Template struct {
			Data map[string]string `yaml:"data"`
		} `yaml:"template"`
	} `yaml:"target"`
	DataFrom []struct {
		SourceRef struct {
			GeneratorRef struct {
				APIVersion string `yaml:"apiVersion"`
				Kind       string `yaml:"kind"`
				Name       string `yaml:"name"`
			} `yaml:"generatorRef"`
		} `yaml:"sourceRef"`
	} `yaml:"dataFrom"`
}

// take decodes the next document of a recipe, which must be of this version and kind.
func take[Spec any](t *testing.T, documents *yaml.Decoder, version, kind string) manifest[Spec] {
	t.Helper()
	var m manifest[Spec]
	require.NoError(t, documents.Decode(&m))
	require.Equal(t, []string{version, kind}, []string{m.APIVersion, m.Kind})
	assert.NotEmpty(t, m.Metadata.Name)
	assert.NotEmpty(t, m.Metadata.Namespace)
	return m
}

func open(t *testing.T, recipe string) *yaml.Decoder {
	t.Helper()
	content, err := os.ReadFile(recipe)
	require.NoError(t, err)
	return yaml.NewDecoder(bytes.NewReader(content), yaml.DisallowUnknownField())
}

func TestVaultSecretsOperator(t *testing.T) {
	const version = "secrets.hashicorp.com/v1beta1"
	documents := open(t, "vso.yaml")
	connection := take[vsoConnection](t, documents, version, "VaultConnection")
	auth := take[vsoAuth](t, documents, version, "VaultAuth")
	secret := take[vsoDynamicSecret](t, documents, version, "VaultDynamicSecret")

	assert.NotEmpty(t, connection.Spec.Address)
	assert.NotNil(t, connection.Spec.SkipTLSVerify, "it is required")
	assert.Equal(t, connection.Metadata.Name, auth.Spec.VaultConnectionRef)
	assert.Equal(t, "kubernetes", auth.Spec.Method)
	assert.NotEmpty(t, auth.Spec.Kubernetes.Role)
	assert.NotEmpty(t, auth.Spec.Kubernetes.ServiceAccount)
	assert.Equal(t, auth.Metadata.Name, secret.Spec.VaultAuthRef)
	assert.Equal(t, "connectors/creds/slack", secret.Spec.Mount+"/"+secret.Spec.Path)
	assert.True(t, secret.Spec.AllowStaticCreds, "without it the operator does not go by ttl")
	assert.True(t, secret.Spec.Destination.Create)
	kept := secret.Spec.Destination.Transformation
	assert.True(t, kept.ExcludeRaw, "the raw answer would put ttl into the Secret, and change it at each read")
	for field, want := range map[string]bool{"access_token": true, "ttl": false, "last_vault_rotation": false} {
		matches := false
		for _, pattern := range kept.Includes {
			matches = matches || regexp.MustCompile(pattern).MatchString(field)
		}
		assert.Equal(t, want, matches, field)
	}
	for _, target := range secret.Spec.RolloutRestartTargets {
		assert.Contains(t, []string{"Deployment", "DaemonSet", "StatefulSet", "argo.Rollout"}, target.Kind)
	}
}

func TestExternalSecretsOperator(t *testing.T) {
	documents := open(t, "eso.yaml")
	generator := take[esoDynamicSecret](t, documents, "generators.external-secrets.io/v1alpha1", "VaultDynamicSecret")
	secret := take[esoExternalSecret](t, documents, "external-secrets.io/v1", "ExternalSecret")

	assert.Equal(t, "connectors/creds/slack", generator.Spec.Path)
	assert.Equal(t, "GET", generator.Spec.Method, "creds cannot be written to")
	assert.Contains(t, []string{"", "Data"}, generator.Spec.ResultType)
	assert.NotEmpty(t, generator.Spec.Provider.Server)
	assert.NotEmpty(t, generator.Spec.Provider.Auth.Kubernetes.Role)
	assert.NotEmpty(t, generator.Spec.Provider.Auth.Kubernetes.ServiceAccountRef.Name)

	every, err := time.ParseDuration(secret.Spec.RefreshInterval)
	require.NoError(t, err)
	assert.Positive(t, every)
	assert.LessOrEqual(t, every, 10*time.Minute, "the engine's margin")
	require.Len(t, secret.Spec.DataFrom, 1)
	source := secret.Spec.DataFrom[0].SourceRef.GeneratorRef
	assert.Equal(t, []string{generator.APIVersion, generator.Kind, generator.Metadata.Name}, []string{
		source.APIVersion, source.Kind, source.Name,
	})
	assert.Equal(t, generator.Metadata.Namespace, secret.Metadata.Namespace, "a generator serves its own namespace")
	assert.Equal(t, map[string]string{"access_token": "{{ .access_token }}"}, secret.Spec.Target.Template.Data)
}
