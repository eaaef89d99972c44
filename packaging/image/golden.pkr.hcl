# A golden image on Azure: Ubuntu with evictd, and whatever of yours a second provisioner adds.
#   packer init . && packer build -var resource_group=GROUP -var package=evictd_VERSION_amd64.deb .
# Signs in as the Azure CLI; plugins.pkr.hcl names the plugin.

variable "resource_group" {
  type        = string
  description = "Of the image, and of the VM that it is made on."
}

variable "package" {
  type        = string
  description = "The .deb, as npm run package makes it."
}

variable "image_name" {
  type    = string
  default = "evictd-golden"
}

variable "vm_size" {
  type    = string
  default = "Standard_D2as_v5"
}

source "azure-arm" "golden" {
  use_azure_cli_auth                = true
  build_resource_group_name         = var.resource_group
  managed_image_resource_group_name = var.resource_group
  managed_image_name                = var.image_name
  os_type                           = "Linux"
  image_publisher                   = "Canonical"
  image_offer                       = "ubuntu-24_04-lts"
  image_sku                         = "server"
  vm_size                           = var.vm_size
}

build {
  sources = ["source.azure-arm.golden"]

  provisioner "file" {
    source      = var.package
    destination = "/tmp/evictd.deb"
  }

  provisioner "shell" {
    execute_command = "sudo -E sh -eu '{{ .Path }}'"
    inline = [
      "cloud-init status --wait",
      "export DEBIAN_FRONTEND=noninteractive",
      "apt-get update",
      "apt-get install --yes /tmp/evictd.deb",
      # The VM that the image is made on is nobody's: nothing of it may be in the image.
      "systemctl stop evictd.service",
      "systemctl enable evictd.service evictd-restore.service",
      "rm -rf /var/lib/evictd /tmp/evictd.deb",
      "cloud-init clean --logs",
      "waagent -force -deprovision+user",
    ]
  }
}
