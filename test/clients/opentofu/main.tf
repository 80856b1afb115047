terraform {
  encryption {
    key_provider "aws_kms" "hsm" {
      kms_key_id = "alias/tofu"
      key_spec   = "AES_256"
      region     = "us-east-1"
    }
    method "aes_gcm" "hsm" {
      keys = key_provider.aws_kms.hsm
    }
    state {
      method   = method.aes_gcm.hsm
      enforced = true
    }
    plan {
      method   = method.aes_gcm.hsm
      enforced = true
    }
  }
}

variable "password" {
  type = string
}

resource "terraform_data" "database" {
  input = var.password
}
