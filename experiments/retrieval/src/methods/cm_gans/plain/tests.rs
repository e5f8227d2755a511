use super::*;
use crate::{
    methods::cm_gans::{init::initial_state, settings::WeightSharing},
    nn::stream::Stream,
};

const SIZES: Sizes = Sizes { image: 7, text: 5, hidden: 8, inter_hidden: 6, classes: 3 };
const ROWS: usize = 6;

struct Losses(Vec<f64>);

impl Watcher<f64> for Losses {
    fn update(&mut self, update: Update<'_, f64>) {
        self.0.push(update.loss);
    }
}

fn batch() -> Batch<f64> {
    let mut stream = Stream::new(2, "batch", 0);
    let mut side = |columns: usize| -> Vec<f64> { (0..ROWS * columns).map(|_| stream.normal()).collect() };
    Batch {
        h_i: side(SIZES.image),
        h_t: side(SIZES.text),
        mismatched_h_i: side(SIZES.image),
        mismatched_h_t: side(SIZES.text),
        labels: vec![0, 1, 2, 0, 1, 2],
    }
}

fn form(settings: &Settings) -> PlainForm<f64> {
    PlainForm::new(settings, SIZES, &initial_state(settings, SIZES, 5), &Device::Cpu).unwrap()
}

/// The discriminator phase as the released code runs it: before each of the four steps the generators
/// run again, and each of those passes moves the running statistics.
fn recomputing_phase(form: &mut PlainForm<f64>, inputs: &Inputs, watcher: &mut dyn Watcher<f64>) {
    let pass = |form: &mut PlainForm<f64>, modality: Modality, h: &BTreeMap<Modality, Tensor>| {
        let codes = form.networks(&[]).encode(modality, &h[&modality]).unwrap();
        form.move_running(modality, &codes.moments, ROWS, 1).unwrap();
        codes
    };
    if form.settings.judges_reconstructions() {
        for modality in [Modality::Text, Modality::Image] {
            let codes = pass(form, modality, &inputs.matched);
            let r = form.networks(&[]).decode(modality, &codes.s).unwrap();
            let objective = form.intra_objective(modality, inputs, &r).unwrap();
            form.step(modality.intra_judge(), &objective, 0.01, watcher).unwrap();
        }
    }
    for pathway in [Modality::Text, Modality::Image] {
        let matched = [pathway, pathway.other()].map(|modality| (modality, pass(form, modality, &inputs.matched)));
        let mismatched = BTreeMap::from([(pathway, pass(form, pathway, &inputs.mismatched))]);
        let objective = form.inter_objective(pathway, inputs, &BTreeMap::from(matched), &mismatched).unwrap();
        form.step(pathway.inter_judge(), &objective, 0.01, watcher).unwrap();
    }
}

#[test]
fn generator_outputs_computed_once_are_those_computed_before_every_step() {
    for settings in [Settings::paper(), Settings { intra_discriminators: false, ..Settings::released() }] {
        let (mut once, mut again) = (form(&settings), form(&settings));
        let (mut losses, mut wanted) = (Losses(vec![]), Losses(vec![]));
        for _ in 0..3 {
            let inputs = once.inputs(&batch()).unwrap();
            once.discriminator_phase(&inputs, 0.01, &mut losses).unwrap();
            recomputing_phase(&mut again, &inputs, &mut wanted);
        }
        assert_eq!(losses.0, wanted.0);
        let (once, again) = (once.state().unwrap(), again.state().unwrap());
        assert!(once.weights == again.weights && once.adam == again.adam);
        for (name, array) in &once.running {
            for (got, want) in array.data.iter().zip(&again.running[name].data) {
                assert!((got - want).abs() < 1e-14, "{name}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn a_generator_step_moves_its_own_tensors_and_statistics_alone() {
    for weight_sharing in [WeightSharing::Tied, WeightSharing::None] {
        let settings = Settings { weight_sharing, ..Settings::paper() };
        for modality in [Modality::Image, Modality::Text] {
            let mut form = form(&settings);
            let before = form.state().unwrap();
            let inputs = form.inputs(&batch()).unwrap();
            form.generator_update(modality, &inputs, 0.01, &mut Losses(vec![])).unwrap();
            let after = form.state().unwrap();
            let owned = &layout::ownership(&settings)[&modality.generator()];
            for (name, array) in &before.weights {
                let moves = owned.contains(name) && !layout::bias_before_norm(name);
                assert_eq!(*array != after.weights[name], moves, "{name} in the step of {}", modality.name());
            }
            for (name, array) in &before.running {
                assert_eq!(*array != after.running[name], name.starts_with(modality.name()), "{name}");
            }
            for (player, adam) in &before.adam {
                assert_eq!(*adam != after.adam[player], *player == modality.generator(), "{}", player.name());
            }
        }
    }
}

#[test]
fn a_state_of_other_sizes_is_refused_by_name() {
    let settings = Settings::paper();
    let state = initial_state::<f64>(&settings, SIZES, 5);
    let refusal =
        |state: &State<f64>, sizes| PlainForm::new(&settings, sizes, state, &Device::Cpu).unwrap_err().to_string();
    assert!(refusal(&state, Sizes { text: 6, ..SIZES }).contains("d_ct.hidden.weight"));
    let mut lacking = state.clone();
    lacking.adam.get_mut(&Player::GT).unwrap().v.remove("enc2.beta");
    assert!(refusal(&lacking, SIZES).contains("g_t of the state lack enc2.beta"));
    let mut lacking = state;
    lacking.adam.remove(&Player::DI);
    assert!(refusal(&lacking, SIZES).contains("other players"));
}
