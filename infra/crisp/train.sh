#!/usr/bin/env bash
# The embedded model, by the project's own jobs: infra/crisp/train.sh [STEP…], from the repository's root.
# What is finished is passed over, and what was interrupted goes on. Results lie in CRISP (default crisp/), SCENES are rendered.
set -euo pipefail

home=${CRISP:-crisp}
scenes=${SCENES:-8000}
seed=${SEED:-7} # of the scenes to learn from
held_out=${HELD_OUT:-200} # the frozen list is of 200
bin=${BIN:-.venv/bin}
# Where a processor multiplies bfloat16 no faster than float32, NUMBERS="--set autocast=false" is faster.
read -ra numbers <<<"${NUMBERS:-}"
begun=${BEGUN:-bfs_model/bundles/tiny} # a bundle that holds what was trained so far; none to begin anew

finished() { [ -f "$home/$1/manifest.json" ] || [ -f "$home/$1/bundle/manifest.json" ] || [ -f "$home/$1/model/manifest.json" ]; }
render() { finished "$1" || "$bin/python" jobs/render_tabletop.py --world 2 --resolution 128 --samples 16 --output "$home/$1" "${@:2}"; }
build() { finished "$1" || "$bin/python" "jobs/build_stage$2.py" --source rorem --input "$home/$3" --output "$home/$1" "${@:4}"; }
vae() { if finished vae; then echo "$home/vae/bundle"; else echo "$begun"; fi; }
rgba() { if finished decoder; then echo "$home/decoder/bundle"; else echo "$begun"; fi; }
backbone() { if finished backbone; then echo "$home/backbone/bundle"; else echo "$begun"; fi; }
phi() { if finished phi; then echo "$home/phi/bundle"; else echo "$begun"; fi; }
train() { finished "$1" || "$bin/python" "jobs/$2.py" --output "$home/$1" "${numbers[@]}" "${@:3}"; }

step() {
    case $1 in
    scenes)
        render scenes --seed "$seed" --scenes "$scenes"
        render validation --scenes $((scenes < 120 ? scenes : 120)) --split validation --seed 7
        ;;
    pixels) build pixels 2 scenes --recipe crisp_pixels ;;
    vae) [ -d "$begun" ] || train vae pretrain_backbone --recipe crisp_rgb_vae --base fresh --dataset "$home/pixels" ;;
    rgba)
        [ -d "$begun" ] || build layers 1 scenes --recipe crisp_data_stage1 --set encode.enabled=false
        [ -d "$begun" ] || train rgba train_rgba_vae --recipe crisp_rgba_vae --base "$(vae)" --dataset "$home/layers"
        [ -d "$begun" ] || train decoder train_rgba_vae --recipe crisp_rgba_decoder --base "$home/rgba/bundle" --dataset "$home/layers"
        ;;
    latents)
        build closer 2 scenes --recipe crisp_data_backbone --base "$(rgba)"
        build set1 1 scenes --recipe crisp_data_stage1 --base "$(rgba)"
        build set2 2 scenes --recipe crisp_data_stage2 --base "$(rgba)"
        build validation1 1 validation --recipe crisp_data_stage1 --set mirror=false --base "$(rgba)"
        build validation2 2 validation --recipe crisp_data_stage2 --set mirror=false --base "$(rgba)"
        ;;
    backbone)
        train backbone pretrain_backbone --recipe crisp_backbone --base "$(rgba)" \
            --dataset "$home/closer" --validation "$home/validation2"
        ;;
    phi) [ -d "$begun" ] || train phi train_compositor --recipe crisp_compositor --base "$(rgba)" --dataset "$home/set1" ;;
    eyes)
        train reference train_reference --recipe crisp_reference --base "$(vae)" --dataset "$home/pixels"
        train recogniser train_recogniser --recipe crisp_recogniser --base "$(vae)" --dataset "$home/pixels"
        ;;
    stages)
        finished joined || "$bin/python" jobs/pack_bundle.py --model "$(backbone)" --output "$home/joined" \
            --take "compositor=$(phi)"
        train stage1 stage1 --recipe crisp_stage1 --base "$home/joined" --dataset "$home/set1" --validation "$home/validation1"
        train stage2 stage2 --recipe crisp_stage2 --base "$home/stage1/model" --dataset "$home/set1" --dataset "$home/set2" \
            --validation "$home/validation2"
        ;;
    bundle)
        finished bundle || "$bin/python" jobs/pack_bundle.py --model "$home/stage2/model" --reference "$home/reference/bundle" \
            --output "$home/bundle" --true-cfg-scale 1.5
        ;;
    measure)
        render held-out --scenes "$held_out" --split heldout --seed 11 --samples 48
        list=(--list crisp_heldout_200)
        [ "$held_out" = 200 ] || list=()
        finished evaluation || "$bin/python" jobs/evaluate.py --recipe tabletop_evaluation --model "$home/bundle" \
            --set recogniser="$home/recogniser" --input "$home/held-out" "${list[@]}" --output "$home/evaluation"
        ;;
    *)
        echo "infra/crisp/train.sh: step=$1 is none of: ${all[*]}" >&2
        exit 2
        ;;
    esac
}

all=(scenes pixels vae rgba latents backbone phi eyes stages bundle measure)
[ $# -gt 0 ] || set -- "${all[@]}"
for name in "$@"; do
    echo "$name" >&2
    step "$name"
done
